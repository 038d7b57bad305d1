//! The page in a browser. Without Chromium, these tests are skipped by name.

use std::collections::BTreeSet;

use crate::browser::Browser;
use crate::harness::{Live, until};

/// Starts a browser, or returns from the named test, as skipped.
macro_rules! browser {
    ($test:literal) => {
        match Browser::start() {
            Some(browser) => browser,
            None => {
                println!("skipped: {} (no chromium)", $test);
                return;
            }
        }
    };
}

/// The text of an element.
fn text(browser: &mut Browser, selector: &str) -> String {
    let value = browser.value(&format!("document.querySelector('{selector}').textContent"));
    value.as_str().unwrap_or_default().to_owned()
}

/// The target delay in force, as shown, in ms.
fn target(browser: &mut Browser) -> Option<f64> {
    let cell = text(browser, "#points td:nth-child(3)");
    cell.strip_suffix(" ms")?.parse().ok()
}

#[test]
fn numbers_move_and_the_switch_changes_the_set_points() {
    let mut browser = browser!("numbers_move_and_the_switch_changes_the_set_points");
    let live = Live::emulated(&[]);
    browser.open(&live.url(), 1400, false);
    browser.wait(
        "running",
        "document.getElementById('state')?.textContent === 'running'",
    );
    for number in ["#classic-p50", "#l4s-p99", "#rate"] {
        let mut seen = BTreeSet::new();
        until(number, || {
            let value = text(&mut browser, number);
            if value.parse::<f64>().is_ok_and(|value| value > 0.0) {
                seen.insert(value);
            }
            (seen.len() >= 3).then_some(())
        });
    }
    // The charts are drawn.
    let painted = "(() => { const c = document.getElementById('delay'); \
         const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
         const colours = new Set(); \
         for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 0) colours.add(d[i] + ',' + d[i + 1]); \
         return colours.size > 8; })()";
    browser.wait("a chart", painted);
    let button = |engine: &str| format!("document.querySelector('button[data-engine={engine}]')");
    for (engine, is_in_force) in [
        ("tuned", (|ms| ms == 10.0) as fn(f64) -> bool),
        ("learned", |ms| ms != 10.0 && ms != 15.0),
        ("plain", |ms| ms == 15.0),
    ] {
        browser.wait(
            "a button",
            &format!("{}.disabled === false", button(engine)),
        );
        browser.value(&format!("{}.click()", button(engine)));
        let pressed = format!("{}.getAttribute('aria-pressed') === 'true'", button(engine));
        browser.wait(engine, &pressed);
        until(engine, || {
            target(&mut browser).filter(|ms| is_in_force(*ms))
        });
    }
    assert!(browser.faults.is_empty(), "{:#?}", browser.faults);

    // A server that has ended is shown, and a page of another site cannot switch.
    assert!(live.end().success());
    browser.wait(
        "no connection",
        "document.getElementById('state').classList.contains('lost')",
    );
}

#[test]
fn the_page_fits_phones_and_dark_screens() {
    let mut browser = browser!("the_page_fits_phones_and_dark_screens");
    let live = Live::emulated(&["--engine", "adaptive"]);
    for (width, dark) in [(1400, true), (800, false), (400, true)] {
        browser.open(&live.url(), width, dark);
        browser.wait(
            "running",
            "document.getElementById('state')?.textContent === 'running'",
        );
        let over = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.value(over), 0, "{width} px");
        let ground = browser.value("getComputedStyle(document.body).backgroundColor");
        let wanted = if dark {
            "rgb(21, 24, 28)"
        } else {
            "rgb(255, 255, 255)"
        };
        assert_eq!(ground, wanted, "{width} px");
    }
    assert!(browser.faults.is_empty(), "{:#?}", browser.faults);
    assert!(live.end().success());
}
