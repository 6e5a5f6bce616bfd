use super::*;

fn ids(table: &ResultTable) -> Vec<String> {
    table.row_ids().map(ToString::to_string).collect()
}

#[test]
fn a_row_that_leaves_and_returns_goes_to_the_end_without_a_net_change() {
    let mut table = ResultTable::default();
    table.keep_sorted(Some("n"));
    let n = table.column(&"n".into());
    for id in ["a", "b"] {
        table.set_cell(&id.into(), n, Cell::Number(1.0));
    }
    assert_eq!(table.finish().rows.len(), 2);
    table.del_cell(&"a".into(), n);
    table.set_cell(&"a".into(), n, Cell::Number(1.0));
    assert_eq!(table.finish(), Net::default());
    assert_eq!(ids(&table), ["b", "a"]);
    assert_eq!(table.sorted_row_ids(Some("n"), Page::default()), ["b", "a"]);
}

#[test]
fn ids_come_from_the_pool_and_counting_starts_again_when_the_table_is_empty() {
    let mut table = ResultTable::default();
    let n = table.column(&"n".into());
    let add = |table: &mut ResultTable| table.add_row(vec![(n, Cell::Null)]).unwrap();
    let made: Vec<Text> = (0..3).map(|_| add(&mut table)).collect();
    assert_eq!(made, ["0", "1", "2"]);
    table.del_row(&"1".into());
    table.del_row(&"0".into());
    assert_eq!(
        (add(&mut table), add(&mut table), add(&mut table)),
        ("1".into(), "0".into(), "3".into())
    );
    table.clear();
    assert_eq!(add(&mut table), "0");
}

#[test]
fn gaps_are_closed_and_rows_found_afterwards() {
    let mut table = ResultTable::default();
    let n = table.column(&"n".into());
    for at in 0..100 {
        table.set_cell(&at.to_string().into(), n, Cell::Number(f64::from(at)));
    }
    table.finish();
    for at in 0..90 {
        table.del_row(&at.to_string().into());
    }
    table.finish();
    assert!(table.rows.len() < 40);
    assert_eq!(table.cell("95", "n"), Some(&Cell::Number(95.0)));
    assert_eq!(ids(&table).len(), 10);
}
