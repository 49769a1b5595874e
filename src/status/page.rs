//! The status page: three files without external resources. They only read `/v1/status`, `/v1/history` and `/v1/events`,
//! and insert external text as text, never as HTML.

/// Content security policy: browsers may load only files of the page.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The files: path, content type and content.
pub const ASSETS: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_loads_no_external_resources() {
        for (path, _, content) in ASSETS {
            let outside = ["http://", "https://", "//cdn", "innerHTML", "eval(", "style="];
            for word in outside {
                let without = content.replace("http://www.w3.org/2000/svg", "");
                assert!(!without.contains(word), "{path} has {word}");
            }
        }
    }
}
