import assert from "node:assert/strict";
import { test } from "node:test";
import * as recipe from "../src/recipe.js";

test("the recipe is what the other side makes (src/bench/recipe.rs has the same text)", () => {
  assert.equal(recipe.digest(25_000), "2baa80dd1372b24a330b10c9a6918661e16ab7bfd291a6bfde24a11d7116ecb0");
  assert.equal(
    recipe.frame(recipe.edit(7, 42)),
    'S\n["abcdefghijk",3,[[{"users":[{"user_00000007":[{"name":["Edited 42","Oeef1N----e3n8Ke"]}]}]}],[{}],1]]',
  );
});
