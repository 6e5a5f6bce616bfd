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
    table.write_cells(&"a".into(), std::iter::once((n, None)));
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

#[test]
fn a_table_filled_from_nothing_tells_its_rows_once_and_in_the_order_of_first_touch() {
    let mut table = ResultTable::default();
    table.keep_sorted(Some("n"));
    table.clear();
    let n = table.column(&"n".into());
    let told =
        |net: Net| -> Vec<String> { net.rows.iter().map(|row| row.row.to_string()).collect() };
    for (id, number) in [("a", 3.0), ("b", 2.0), ("c", 1.0)] {
        table.add_cells(&id.into(), std::iter::once((n, Some(Cell::Number(number)))));
    }
    table.set_cell(&"b".into(), n, Cell::Number(4.0));
    let mut filled = table.clone();
    let net = filled.finish();
    assert_eq!((net.cell_ids_changed, net.rows[1].cells[0].new.clone()), (true, Some(4.0.into())));
    assert_eq!(told(net), ["a", "b", "c"]);
    assert_eq!(filled.sorted_row_ids(Some("n"), Page::default()), ["c", "a", "b"]);

    // One that left for a while is told at its first touch; one that left for good is not told.
    table.del_row(&"a".into());
    table.del_row(&"c".into());
    table.set_cell(&"a".into(), n, Cell::Number(5.0));
    table.set_cell(&"d".into(), n, Cell::Number(0.0));
    assert_eq!(told(table.finish()), ["a", "b", "d"]);
    assert_eq!(ids(&table), ["b", "a", "d"]);
    assert_eq!(table.sorted_row_ids(Some("n"), Page::default()), ["d", "b", "a"]);
    assert_eq!(table.finish(), Net::default());
}
