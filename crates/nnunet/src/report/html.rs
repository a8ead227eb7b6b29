//! A page of HTML without anything from outside.

use std::fmt::{Display, Write as _};

use base64::Engine as _;

const STYLE: &str = "
:root{color-scheme:light dark;--text:#1d2430;--soft:#5d6878;--line:#d8dde5;--back:#fff;--card:#f6f8fa;--good:#1a7f37;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--text:#e6e9ee;--soft:#9aa5b5;--line:#3a4350;--back:#14181e;--card:#1d232b;--good:#5fc27e;--bad:#ff8a7a}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);max-width:1080px;margin:2rem auto;padding:0 1.2rem}
h1{font-size:1.9rem;border-bottom:2px solid var(--line);padding-bottom:.3rem;margin-top:2.5rem}
h2{font-size:1.4rem;margin-top:2.4rem}h3{font-size:1.1rem;margin-top:1.6rem}
p.note{color:var(--soft);margin:.3rem 0 1rem}
table{border-collapse:collapse;margin:.8rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .8rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}thead th{color:var(--soft);font-weight:600}
.wide{overflow-x:auto}figure{margin:1rem 0}figure svg,figure img{max-width:100%;height:auto;background:#fff;border-radius:6px}
figcaption{color:var(--soft);font-size:.9rem}
.choice{background:var(--card);border-radius:8px;padding:.7rem 1rem;margin:.6rem 0}
.choice b{display:block}.choice dl{display:grid;grid-template-columns:6.5rem 1fr;gap:.1rem .6rem;margin:.3rem 0 0;font-size:.92rem}
.choice dt{color:var(--soft)}.choice dd{margin:0;overflow-wrap:anywhere}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:1rem}
.pictures figure{margin:0;background:var(--card);border-radius:8px;padding:.6rem}
.key span{display:inline-block;margin-right:1rem}.key i{display:inline-block;width:.9em;height:.9em;border-radius:2px;margin-right:.35em;vertical-align:-.1em}
summary{cursor:pointer;color:var(--soft)}
";

/// A page that is being written.
pub(super) struct Page {
    text: String,
}

impl Page {
    pub(super) fn new(title: &str) -> Self {
        let text = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width,initial-scale=1\">\n<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
            escape(title)
        );
        Self { text }
    }

    pub(super) fn finish(mut self) -> String {
        let _ = write!(
            self.text,
            "<p class=\"note\">Written by nnunet {}.</p>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION")
        );
        self.text
    }

    pub(super) fn heading(&mut self, level: u8, text: &str) {
        let _ = writeln!(self.text, "<h{level}>{}</h{level}>", escape(text));
    }

    pub(super) fn note(&mut self, text: &str) {
        let _ = writeln!(self.text, "<p class=\"note\">{}</p>", escape(text));
    }

    /// A chart that is already SVG.
    pub(super) fn chart(&mut self, svg: &str, caption: &str) {
        let caption = escape(caption);
        let _ = writeln!(self.text, "<figure>{svg}<figcaption>{caption}</figcaption></figure>");
    }

    pub(super) fn table<C: Display>(&mut self, head: &[C], rows: &[Vec<String>]) {
        self.text.push_str("<div class=\"wide\"><table><thead><tr>");
        for cell in head {
            let _ = write!(self.text, "<th>{}</th>", escape(&cell.to_string()));
        }
        self.text.push_str("</tr></thead><tbody>\n");
        for row in rows {
            self.text.push_str("<tr>");
            for cell in row {
                let _ = write!(self.text, "<td>{}</td>", escape(cell));
            }
            self.text.push_str("</tr>\n");
        }
        self.text.push_str("</tbody></table></div>\n");
    }

    /// What `body` writes, folded away under a line.
    pub(super) fn folded(&mut self, line: &str, body: impl FnOnce(&mut Self)) {
        let _ = writeln!(self.text, "<details><summary>{}</summary>", escape(line));
        body(self);
        self.text.push_str("</details>\n");
    }

    /// A card with a title, a value and named lines.
    pub(super) fn choice(&mut self, title: &str, lines: &[(&str, &str)]) {
        let _ = write!(self.text, "<div class=\"choice\"><b>{}</b><dl>", escape(title));
        for (name, text) in lines {
            let _ = write!(self.text, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(text));
        }
        self.text.push_str("</dl></div>\n");
    }

    /// What the colours of labels stand for.
    pub(super) fn key(&mut self, entries: &[(String, [u8; 3])]) {
        self.text.push_str("<p class=\"key\">");
        for (name, [r, g, b]) in entries {
            let _ = write!(
                self.text,
                "<span><i style=\"background:rgb({r},{g},{b})\"></i>{}</span>",
                escape(name)
            );
        }
        self.text.push_str("</p>\n");
    }

    pub(super) fn begin_pictures(&mut self) {
        self.text.push_str("<div class=\"pictures\">\n");
    }

    pub(super) fn end_pictures(&mut self) {
        self.text.push_str("</div>\n");
    }

    /// A PNG picture, kept in the page itself.
    pub(super) fn picture(&mut self, png: &[u8], caption: &str) {
        let data = base64::engine::general_purpose::STANDARD.encode(png);
        let caption = escape(caption);
        let _ = writeln!(
            self.text,
            "<figure><img alt=\"{caption}\" src=\"data:image/png;base64,{data}\"><figcaption>{caption}</figcaption></figure>"
        );
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Three digits after the point; a dash for what is not a number.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() { "–".to_owned() } else { format!("{value:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_files_cannot_become_markup() {
        let mut page = Page::new("<script>");
        page.heading(1, "a & b");
        page.table(&["<td>"], &[vec!["\"x\"".to_owned()]]);
        let text = page.finish();
        assert!(!text.contains("<script>") && text.contains("<title>&lt;script&gt;</title>"), "{text}");
        assert!(
            text.contains("a &amp; b")
                && text.contains("&quot;x&quot;")
                && text.contains("<th>&lt;td&gt;</th>")
        );
    }

    #[test]
    fn what_is_not_a_number_is_a_dash() {
        assert_eq!((number(f64::NAN).as_str(), number(0.95).as_str()), ("–", "0.950"));
    }
}
