//! One source file as input of the rules: tokens, and the paths they form.
//!
//! Works on tokens and not on a syntax tree, because a tree does not contain the code in macros such as `select!`.
//! Comments and the contents of strings are not code. Contains no rule.

use std::iter::Peekable;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree, token_stream};

/// A file of the tree.
pub(crate) struct Source {
    /// Relative to the root of the repository, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
}

/// A word, a punctuation mark, a literal, or one side of a pair of brackets.
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
    /// Whether it belongs to code that is built for tests only.
    pub(crate) in_test: bool,
}

/// A path as written in the code, with groups of `use` expanded: `use std::{env, fs}` is `std::env` and `std::fs`.
/// A single identifier or keyword is a path too.
pub(crate) struct Mention<'a> {
    pub(crate) path: String,
    pub(crate) token: &'a Token,
}

impl Mention<'_> {
    /// Whether the path contains `pattern` as whole segments: `tokio::spawn` in `tokio::spawn`, not in
    /// `tokio::spawned`.
    pub(crate) fn has(&self, pattern: &str) -> bool {
        format!("::{}::", self.path).contains(&format!("::{pattern}::"))
    }
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Source {
        let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path} is not Rust: {error}"));
        let mut reader = Reader { tokens: Vec::new() };
        reader.read(stream, is_test_file(path));
        Source { path: path.to_owned(), text: text.to_owned(), tokens: reader.tokens }
    }

    pub(crate) fn mentions(&self) -> Vec<Mention<'_>> {
        let mut mentions = Vec::new();
        gather(&self.tokens, "", &mut mentions);
        mentions
    }
}

fn is_test_file(path: &str) -> bool {
    let folders = ["tests/", "benches/"];
    folders.iter().any(|folder| path.starts_with(folder) || path.contains(&format!("/{folder}")))
        || path.ends_with("/tests.rs")
}

struct Reader {
    tokens: Vec<Token>,
}

impl Reader {
    fn read(&mut self, stream: TokenStream, in_test: bool) {
        let mut trees = stream.into_iter().peekable();
        // True from an attribute such as `#[cfg(test)]` to the end of its item.
        let mut test_item = false;
        while let Some(tree) = trees.next() {
            test_item |= starts_test_item(&tree, &mut trees);
            let ends_item = ends_item(&tree);
            self.push(tree, in_test || test_item);
            test_item &= !ends_item;
        }
    }

    fn push(&mut self, tree: TokenTree, in_test: bool) {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => self.push_group(&group, in_test),
            other => self.tokens.push(Token { text: other.to_string(), line, in_test }),
        }
    }

    fn push_group(&mut self, group: &Group, in_test: bool) {
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => ("", ""),
        };
        let bracket = |text: &str, line| Token { text: text.to_owned(), line, in_test };
        self.tokens.push(bracket(open, group.span_open().start().line));
        self.read(group.stream(), in_test);
        self.tokens.push(bracket(close, group.span_close().start().line));
    }
}

type Trees = Peekable<token_stream::IntoIter>;

fn starts_test_item(tree: &TokenTree, following: &mut Trees) -> bool {
    let (TokenTree::Punct(mark), Some(TokenTree::Group(group))) = (tree, following.peek()) else { return false };
    let attribute: String = group.stream().to_string().split_whitespace().collect();
    mark.as_char() == '#' && ["cfg(test)", "test", "tokio::test"].iter().any(|start| attribute == *start)
}

fn ends_item(tree: &TokenTree) -> bool {
    match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(mark) => mark.as_char() == ';',
        _ => false,
    }
}

/// Adds the paths in `tokens`, each with `prefix` before it.
fn gather<'a>(tokens: &'a [Token], prefix: &str, mentions: &mut Vec<Mention<'a>>) {
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        at += 1;
        if !is_word(token) {
            continue;
        }
        let mut path = format!("{prefix}{}", token.text);
        while let Some(next) = after_colons(tokens, at) {
            if next.text == "{" {
                let end = closing_brace(tokens, at + 2);
                gather(&tokens[at + 3..end], &format!("{path}::"), mentions);
                at = end;
                break;
            }
            if !is_word(next) {
                break;
            }
            path = format!("{path}::{}", next.text);
            at += 3;
        }
        mentions.push(Mention { path, token });
    }
}

fn is_word(token: &Token) -> bool {
    token.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The token after `::`, if `::` is at `at`.
fn after_colons(tokens: &[Token], at: usize) -> Option<&Token> {
    let colon = |at: usize| tokens.get(at).is_some_and(|token| token.text == ":");
    if colon(at) && colon(at + 1) { tokens.get(at + 2) } else { None }
}

/// The position of the brace that closes the one at `open`.
fn closing_brace(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return at,
            "}" => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}
