//! Selects the layers of a PEFT adapter: names, patterns and block numbers, by
//! the rules of PEFT 0.21. Patterns are Python's regular expressions.

use fancy_regex::Regex;
use serde_json::Value;

use super::BackboneError;
use super::lora::named;

/// A linear layer of a backbone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its name in PEFT's model, e.g. `model.layers.0.self_attn.q_proj`.
    pub(crate) full: String,
    /// Its name in the bare model.
    pub(crate) bare: String,
}

impl Module {
    /// The last part of the name.
    pub(super) fn last(&self) -> &str {
        self.bare.rsplit('.').next().unwrap_or(&self.bare)
    }
}

/// `target_modules` or `exclude_modules`.
pub(super) enum Names {
    /// Full names, or their last parts.
    List(Vec<String>),
    /// A pattern of full names.
    Pattern(Regex),
}

/// `layers_to_transform` and `layers_pattern`.
pub(super) struct Layers {
    wanted: Vec<u64>,
    /// The first match gives the number of a layer's block.
    numbers: Vec<Regex>,
}

/// The selection rules.
pub(super) struct Rules {
    pub(super) targets: Names,
    pub(super) exclude: Option<Names>,
    pub(super) layers: Option<Layers>,
}

impl Names {
    /// The pattern of a key.
    pub(super) fn pattern(file: &str, key: &str, text: &str) -> Result<Names, BackboneError> {
        compiled(file, key, text, &format!("^(?:{text})$")).map(Names::Pattern)
    }

    fn matches(&self, full: &str) -> bool {
        match self {
            Names::List(names) => names.iter().any(|name| named(full, name)),
            Names::Pattern(pattern) => is_match(pattern, full),
        }
    }
}

impl Layers {
    /// Blocks of these numbers; none: all blocks.
    pub(super) fn new(
        file: &str,
        wanted: Option<Vec<u64>>,
        lists: &[String],
    ) -> Result<Option<Layers>, BackboneError> {
        let Some(wanted) = wanted else {
            return Ok(None);
        };
        let numbers = if lists.is_empty() {
            // The first number after a name; a name before that is required.
            vec![compiled(
                file,
                "layers_pattern",
                "",
                r"^.*?\.[^.]*\.(?P<idx>\d+)\.",
            )?]
        } else {
            let pattern = |list: &String| {
                let text = format!(r"^(?:.*?\.)?{list}\.(?P<idx>\d+)\.");
                compiled(file, "layers_pattern", list, &text)
            };
            lists.iter().map(pattern).collect::<Result<_, _>>()?
        };
        Ok(Some(Layers { wanted, numbers }))
    }

    fn matches(&self, full: &str) -> bool {
        let found = self
            .numbers
            .iter()
            .find_map(|pattern| pattern.captures(full).ok().flatten());
        found
            .and_then(|found| found.name("idx")?.as_str().parse().ok())
            .is_some_and(|number: u64| self.wanted.contains(&number))
    }
}

impl Rules {
    /// The adapted layers, in model order.
    pub(super) fn adapted(&self, modules: &[Module]) -> Vec<Module> {
        let adapted = |module: &&Module| {
            let full = module.full.as_str();
            if self.exclude.as_ref().is_some_and(|e| e.matches(full)) {
                return false;
            }
            // Block numbers apply only to last parts of names.
            let counted = match &self.targets {
                Names::List(names) => !names.iter().any(|name| name == full),
                Names::Pattern(_) => false,
            };
            self.targets.matches(full)
                && (!counted || self.layers.as_ref().is_none_or(|l| l.matches(full)))
        };
        modules.iter().filter(adapted).cloned().collect()
    }

    /// A target that matches no layer.
    pub(super) fn unused(&self, modules: &[Module]) -> Option<&str> {
        let Names::List(names) = &self.targets else {
            return None;
        };
        let used = |name: &&String| modules.iter().any(|module| named(&module.full, name));
        names.iter().find(|name| !used(name)).map(String::as_str)
    }

    /// The adapted layers, as targets in the bare model: short names if
    /// unambiguous, otherwise full names.
    pub(super) fn targets(&self, modules: &[Module]) -> Vec<String> {
        let adapted = self.adapted(modules);
        let short = match &self.targets {
            Names::List(names) => {
                let chosen = |bare: &str| names.iter().any(|name| named(bare, name));
                let same = modules
                    .iter()
                    .all(|module| chosen(&module.bare) == adapted.contains(module));
                let used = |name: &String| modules.iter().any(|m| named(&m.bare, name));
                (same && names.iter().all(used)).then(|| names.clone())
            }
            Names::Pattern(_) => None,
        };
        let whole = || adapted.iter().map(|module| module.bare.clone()).collect();
        let mut targets: Vec<String> = short.unwrap_or_else(whole);
        // PEFT keeps a set, and writes it in any order.
        targets.sort();
        targets
    }
}

/// The values of `rank_pattern` or `alpha_pattern`, each with its layer. A
/// pattern matches full names or their last parts; the first match in the file
/// counts.
pub(super) fn by_pattern<'a>(
    file: &str,
    key: &str,
    patterns: &'a [(String, Value)],
    adapted: &'a [Module],
) -> Result<Vec<(&'a Module, &'a Value)>, BackboneError> {
    let patterns = patterns
        .iter()
        .map(|(text, value)| {
            let pattern = compiled(file, key, text, &format!(r"^(.*\.)?({text})$"))?;
            Ok((pattern, value))
        })
        .collect::<Result<Vec<_>, BackboneError>>()?;
    let first = |module: &'a Module| {
        let mut matching = patterns.iter().filter(|(p, _)| is_match(p, &module.full));
        matching.next().map(|(_, value)| (module, *value))
    };
    Ok(adapted.iter().filter_map(first).collect())
}

fn compiled(file: &str, key: &str, text: &str, whole: &str) -> Result<Regex, BackboneError> {
    Regex::new(whole).map_err(|e| {
        let want = format!("a regular expression of Python: {e}");
        BackboneError::value(file, key, text, want)
    })
}

/// A pattern that exceeds the step limit matches nothing.
fn is_match(pattern: &Regex, name: &str) -> bool {
    pattern.is_match(name).unwrap_or(false)
}
