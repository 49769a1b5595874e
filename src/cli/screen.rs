//! Fits a table to the size of the terminal, so that repeated drawing does not scroll.

use std::num::NonZeroU16;

use super::status::Table;
use crate::text::width;

/// Lines and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Screen {
    pub(super) rows: NonZeroU16,
    pub(super) columns: NonZeroU16,
}

impl Screen {
    /// The terminal of standard output; `None` if it is not a terminal or its size is unknown.
    pub(super) fn of_stdout() -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        Some(Self { rows: NonZeroU16::new(size.ws_row)?, columns: NonZeroU16::new(size.ws_col)? })
    }

    /// The head and as many nodes as fit; the last line has the number of the remaining nodes.
    pub(super) fn fit(self, table: &Table) -> String {
        // The cursor needs one line below the text.
        let rows_max = usize::from(self.rows.get()) - 1;
        let mut used = self.height(&table.head);
        let heights: Vec<usize> = table.nodes.iter().map(|node| self.height(node)).collect();
        if used + heights.iter().sum::<usize>() <= rows_max {
            return table.head.clone() + &table.nodes.concat();
        }
        let fits = |height: &&usize| {
            used += **height;
            used < rows_max
        };
        let shown = heights.iter().take_while(fits).count();
        let (remaining, nodes) = (table.nodes.len() - shown, table.nodes[..shown].concat());
        format!("{}{nodes}and {remaining} more {}\n", table.head, if remaining == 1 { "node" } else { "nodes" })
    }

    /// Number of rows of a text, with wrapped lines.
    fn height(self, text: &str) -> usize {
        text.lines().map(|line| visible(line).div_ceil(self.columns.get().into()).max(1)).sum()
    }
}

/// Columns of a line without the escape sequences for colours.
fn visible(line: &str) -> usize {
    let mut parts = line.split("\u{1b}[");
    let plain = parts.next().map_or(0, width);
    plain + parts.map(|part| part.split_once('m').map_or(0, |(_, rest)| width(rest))).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(rows: u16, columns: u16) -> Screen {
        let size = |value| NonZeroU16::new(value).expect("not zero");
        Screen { rows: size(rows), columns: size(columns) }
    }

    fn table(nodes: &[&str]) -> Table {
        Table { head: "head\n\n".to_owned(), nodes: nodes.iter().map(|node| (*node).to_owned()).collect() }
    }

    #[test]
    fn table_that_fits_is_printed_completely() {
        let table = table(&["a\n", "b\n  ! wrong\n"]);
        assert_eq!(screen(6, 80).fit(&table), "head\n\na\nb\n  ! wrong\n");
    }

    #[test]
    fn last_line_counts_the_nodes_that_do_not_fit() {
        let four = table(&["a\n", "b\n  ! wrong\n", "c\n", "d\n"]);
        assert_eq!(screen(7, 80).fit(&four), "head\n\na\nb\n  ! wrong\nand 2 more nodes\n");
        assert_eq!(screen(6, 80).fit(&four), "head\n\na\nand 3 more nodes\n");
        assert_eq!(screen(5, 80).fit(&table(&["a\n", "b\n", "c\n"])), "head\n\na\nand 2 more nodes\n");
        assert_eq!(screen(1, 80).fit(&table(&["a\n"])), "head\n\nand 1 more node\n");
    }

    #[test]
    fn long_lines_wrap_and_colours_take_no_columns() {
        let long = table(&["123456789012345\n", "b\n", "c\n"]);
        assert_eq!(screen(6, 10).fit(&long), "head\n\n123456789012345\nand 2 more nodes\n");
        let wide = table(&["日本日本日本\n", "b\n", "c\n"]);
        assert_eq!(screen(6, 10).fit(&wide), "head\n\n日本日本日本\nand 2 more nodes\n");
        let red = table(&["\u{1b}[31m1234567890\u{1b}[0m\n", "b\n", "c\n"]);
        assert_eq!(screen(6, 10).fit(&red), format!("head\n\n{}", red.nodes.concat()));
    }
}
