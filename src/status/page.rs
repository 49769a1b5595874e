//! The status page: three files without external resources. They only read `/v1/status`, `/v1/history` and `/v1/events`,
//! and insert external text as text, never as HTML.

/// Content security policy: browsers may load only files of the page.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The content type and the content of a path.
pub fn asset(path: &str) -> Option<(&'static str, &'static str)> {
    match path {
        "/" => Some(("text/html; charset=utf-8", include_str!("page/index.html"))),
        "/page.css" => Some(("text/css; charset=utf-8", include_str!("page/page.css"))),
        "/page.js" => Some(("text/javascript; charset=utf-8", include_str!("page/page.js"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_loads_no_external_resources() {
        for path in ["/", "/page.css", "/page.js"] {
            let (_, content) = asset(path).expect("it is there");
            let outside = ["http://", "https://", "//cdn", "innerHTML", "eval(", "style="];
            for word in outside {
                let without = content.replace("http://www.w3.org/2000/svg", "");
                assert!(!without.contains(word), "{path} has {word}");
            }
        }
        assert_eq!(asset("/../etc/passwd"), None);
    }
}
