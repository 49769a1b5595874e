//! The status page in a real browser: live content, keyboard, phone, dark and light mode, and its restrictions.

use std::net::SocketAddr;

use managed_app::status::ListenAddresses;
use managed_app_fakes::faulty::Verb;
use managed_app_runtimes::ErrorKind;

use crate::browser::Browser;
use crate::free_address;
use crate::harness::{Harness, Plan};

/// A name with markup, and a long name.
const ODD: &str = "<img src=x onerror=alert(1)>";
const LONG: &str = "plant 7: line 3: temperature and pressure to the historian of the whole site";

async fn harness(address: SocketAddr, nodes: &[&str]) -> Harness {
    let addresses = ListenAddresses { page: Some(address), ..ListenAddresses::default() };
    Plan::new().await.nodes(nodes).host(move |builder| builder.listen_at(addresses)).up().await
}

async fn restart_by_change(harness: &Harness, node: &str, number: usize) {
    let before = harness.journal.starts(node);
    harness.cloud.set_node_config(node, &format!(r#"{{"x":{number}}}"#));
    harness.eventually("it is restarted", |host| host.is_converged() && host.journal.starts(node) > before).await;
}

#[tokio::test]
async fn the_page_is_live_and_works_by_keyboard_and_on_a_phone() {
    let address = free_address();
    let mut harness = harness(address, &["edge to cloud", ODD, LONG]).await;
    let browser = Browser::start().await;
    browser.open(&format!("http://{address}/")).await;
    browser.eventually("document.querySelectorAll('#nodes > li').length === 3").await;
    browser.eventually("document.getElementById('phase').textContent === 'in the desired state'").await;
    browser.eventually("document.getElementById('count').textContent === '3 of 3 up'").await;
    // Live, without a reload.
    browser.value("(window.isSamePage = true)").await;
    restart_by_change(&harness, "edge to cloud", 1).await;
    browser.eventually("document.querySelector('#recent .what').innerText.includes('restart')").await;
    browser.eventually("document.querySelector('#recent .what').innerText.includes('node config')").await;
    browser.eventually("document.querySelector('#recent .took').innerText.includes('after the message')").await;
    assert_eq!(browser.value("window.isSamePage").await, true);
    // Names are text, not markup.
    assert_eq!(browser.value("document.querySelectorAll('main img').length").await, 0);
    assert_eq!(browser.value(&format!("document.body.innerText.includes({ODD:?})")).await, true);
    new_actions_have_the_colour_of_their_outcome(&browser).await;
    by_keyboard(&browser).await;
    on_screens(&browser, &harness).await;
    assert_eq!(browser.errors().await, [""; 0]);
    harness.stop().await;
    browser.eventually("document.getElementById('phase').textContent === 'no answer'").await;
    browser.eventually("document.getElementById('trouble').innerText.includes('does not answer')").await;
    assert_eq!(browser.value("document.querySelectorAll('#nodes > li').length").await, 3, "the last state stays");
    harness.start();
    browser.eventually("document.getElementById('trouble').hidden").await;
}

/// A new action is highlighted for a moment; a failed one must not have the colour of success.
async fn new_actions_have_the_colour_of_their_outcome(browser: &Browser) {
    for (outcome, ground) in [("failed", "--bad-ground"), ("done", "--good-ground"), ("going_on", "--busy-ground")] {
        let script = format!(
            "(() => {{
                const action = {{ node: 'x', action: 'restart', because: 'a test', outcome: '{outcome}', attempts: 1,
                    began_at: new Date().toISOString(), causes: [], differences: [], steps: [] }};
                const [item, other] = [drawAction(action, true), el('li')];
                item.classList.add('fresh');
                other.style.background = 'var({ground})';
                document.getElementById('recent').append(item, other);
                const [tint] = item.getAnimations();
                tint.pause();
                tint.currentTime = 0;
                const [ours, expected] = [item, other].map((one) => getComputedStyle(one).backgroundColor);
                item.remove();
                other.remove();
                return ours === expected ? 'the same' : `${{ours}} and not ${{expected}}`;
            }})()"
        );
        assert_eq!(browser.value(&script).await, "the same", "{outcome}");
    }
}

/// Tab focuses the first node, Enter opens its history, and an update keeps both.
async fn by_keyboard(browser: &Browser) {
    const TAB: &str = "\u{e004}";
    const ENTER: &str = "\u{e007}";
    let is_at_node = "document.activeElement.tagName === 'SUMMARY'";
    for _ in 0..3 {
        if browser.value(is_at_node).await == true {
            break;
        }
        browser.press(TAB).await;
    }
    browser.eventually(is_at_node).await;
    browser.press(ENTER).await;
    browser.eventually("document.querySelector('#nodes details').open").await;
    browser.eventually("document.querySelectorAll('#nodes .history .action').length > 0").await;
    browser.value("load()").await;
    browser.eventually("!isLoading && document.querySelector('#nodes details').open").await;
    browser.eventually(is_at_node).await;
}

/// No content is wider than the screen, text has sufficient contrast, and targets are large enough for touch.
async fn on_screens(browser: &Browser, harness: &Harness) {
    harness.faults.on(Verb::Restart).times(2).fail(ErrorKind::TimedOut);
    harness.cloud.set_node_config(LONG, r#"{"fails":true}"#);
    browser.eventually("document.querySelector('#nodes .error') !== null").await;
    for (name, width, is_dark) in
        [("light", 1280, false), ("dark", 1280, true), ("phone", 390, false), ("phone-dark", 390, true)]
    {
        browser.shows(width, is_dark).await;
        browser.eventually(&format!("window.innerWidth === {width}")).await;
        browser.screenshot(name).await;
        let is_narrow = "document.documentElement.scrollWidth <= window.innerWidth";
        assert_eq!(browser.value(is_narrow).await, true, "{name} scrolls sideways");
        let contrast = browser.value(CONTRAST).await;
        assert!(contrast.as_f64().is_some_and(|lowest| lowest >= 4.5), "{name}: the lowest contrast is {contrast}");
        let smallest =
            "Math.min(...[...document.querySelectorAll('summary')].map(s => s.getBoundingClientRect().height))";
        assert!(browser.value(smallest).await.as_f64().is_some_and(|height| height >= 40.0), "{name}");
    }
    harness.eventually("it succeeds finally", |host| host.is_converged()).await;
    browser.eventually("document.querySelector('#nodes .error') === null").await;
}

/// The lowest contrast between a visible text and its background (WCAG 2).
const CONTRAST: &str = r"(() => {
    const parse = (c) => c.match(/[\d.]+/g).map(Number);
    const light = (c) => {
        const [r, g, b] = c.map((v) => v / 255).map((v) => (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4));
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const c = parse(getComputedStyle(at).backgroundColor);
            if (c.length < 4 || c[3] > 0) return c.slice(0, 3);
        }
        return [255, 255, 255];
    };
    const texts = [...document.querySelectorAll('body *')].filter((element) => element.checkVisibility()
        && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
    return Math.min(...texts.map((element) => {
        const pair = [light(parse(getComputedStyle(element).color).slice(0, 3)), light(ground(element))];
        return (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
    }));
})()";

#[tokio::test]
async fn the_page_is_read_only_and_rejects_other_host_headers() {
    let address = free_address();
    let _harness = harness(address, &["a"]).await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = http.get(format!("http://{address}/")).send().await.expect("an answer");
    let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    for host in ["evil.example", "evil.example:80", "169.254.169.254"] {
        let answer = http.get(format!("http://{address}/v1/status")).header("host", host).send().await;
        assert_eq!(answer.expect("an answer").status(), 421, "{host}");
    }
    let answer = http.post(format!("http://{address}/v1/status")).send().await.expect("an answer");
    assert_eq!(answer.status(), 405);
    for path in ["/metrics", "/v2/status", "/page", "/..%2f"] {
        let answer = http.get(format!("http://{address}{path}")).send().await.expect("an answer");
        assert_eq!(answer.status(), 404, "{path}");
    }
}
