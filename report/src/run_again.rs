//! The command that repeats a result, from any directory.

use std::collections::BTreeSet;

use super::figure::escape;
use l4sllm_model::text::shell_word;
use l4sllm_testbed::result::{Facts, MachinesFacts};

/// Explains how to run it again: the command, its prerequisites, and the
/// scenario.
pub(super) fn run_again(facts: &Facts) -> String {
    let name = escape(&facts.scenario);
    let mut out = "<h3>How to run it again</h3>\n".to_owned();
    match command(facts) {
        Some(command) => out.push_str(&format!(
            "<pre class=\"command\">{}</pre>\n<p>{}{}</p>\n",
            escape(&command),
            repeatability(facts),
            policy_note(facts),
        )),
        None => out.push_str("<p>The scenario was made by a program and has no file.</p>\n"),
    }
    let policies = facts
        .arms
        .iter()
        .filter_map(|arm| Some((&arm.name, arm.policy.as_ref()?)));
    let policies: String = policies
        .map(|(arm, policy)| {
            let (arm, name, sha256) = (escape(arm), escape(&policy.name), escape(&policy.sha256));
            format!("<li>{arm}: policy {name}, SHA-256 <code>{sha256}</code></li>\n")
        })
        .collect();
    if !policies.is_empty() {
        out.push_str(&format!("<ul class=\"conclusion\">\n{policies}</ul>\n"));
    }
    if !facts.scenario_toml.is_empty() {
        out.push_str(&format!(
            "<details>\n<summary>The scenario of this run, scenario/{name}.toml</summary>\n\
             <pre>{}</pre>\n</details>\n",
            escape(&facts.scenario_toml)
        ));
    }
    out
}

/// How far a repetition is the same.
fn repeatability(facts: &Facts) -> String {
    match &facts.lab {
        None => "The same version, seed, scenario and policy give the same packets; measured \
                 times differ."
            .to_owned(),
        Some(lab) => format!(
            "Real packets of {}{} and {}: no two repetitions are the same.",
            // Names of the testbed's systems are complete.
            if lab.machines.is_some() { "" } else { "Linux " },
            escape(&lab.kernel),
            escape(&lab.iperf)
        ),
    }
}

/// The command, for a POSIX shell: with the scenario file if its path is known,
/// otherwise with its text; none without either.
pub(super) fn command(facts: &Facts) -> Option<String> {
    let (before, scenario) = match &facts.scenario_file {
        Some(file) => (String::new(), shell_word(file)),
        None if facts.scenario_toml.is_empty() => return None,
        None => here_document(facts),
    };
    let machines = facts.lab.as_ref().and_then(|lab| lab.machines.as_ref());
    if let Some(machines) = machines {
        return Some(before + &testbed_run(facts, machines, &scenario));
    }
    let arms: Vec<&str> = facts.arms.iter().map(|arm| arm.name.as_str()).collect();
    Some(format!(
        "{before}l4sllm {} {scenario} \\\n    --out {} \\\n    --arms {}{} \\\n    \
         --repetitions {} --duration {}s --seed {}",
        if facts.lab.is_some() {
            "lab run"
        } else {
            "run"
        },
        shell_word(&format!("{}-again", facts.scenario)),
        shell_word(&arms.join(",")),
        policy(facts),
        facts.repetitions,
        facts.duration_ns as f64 / 1e9,
        facts.seed,
    ))
}

/// The command for the testbed's machines, which has the scenario's seed.
fn testbed_run(facts: &Facts, machines: &MachinesFacts, scenario: &str) -> String {
    let intervals: Vec<String> = machines.intervals.iter().map(u32::to_string).collect();
    let inventory = match machines.provider == "ssh" {
        true => " --inventory machines.toml",
        false => "",
    };
    format!(
        "l4sllm testbed run {scenario} \\\n    --provider {}{inventory} --out {} \\\n    \
         --arms {} --interval {} \\\n    --repetitions {} --duration {}s",
        shell_word(&machines.provider),
        shell_word(&format!("{}-again", facts.scenario)),
        shell_word(&machines.arms.join(",")),
        intervals.join(","),
        facts.repetitions,
        facts.duration_ns as f64 / 1e9,
    )
}

/// Commands that write the scenario to a file, and the file's name.
fn here_document(facts: &Facts) -> (String, String) {
    let file = shell_word(&format!("{}.toml", facts.scenario));
    let text = &facts.scenario_toml;
    let mut end = "END".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    let before = format!("cat > {file} <<'{end}'\n{text}{newline}{end}\n");
    (before, file)
}

/// The options for the policy and its engine; none without a policy, and if
/// arms have different policies, which the scenario names.
fn policy(facts: &Facts) -> String {
    let dirs: BTreeSet<String> = dirs(facts).collect();
    let Some(policy) = facts.arms.iter().find_map(|arm| arm.policy.as_ref()) else {
        return String::new();
    };
    let engine = policy.runs_on.as_ref().map_or(String::new(), |on| {
        let (engine, precision) = (on.engine.name(), on.precision.name());
        let device = shell_word(&on.device);
        format!(" \\\n    --engine {engine} --accelerator {device} --precision {precision}")
    });
    match dirs.first() {
        Some(dir) if dirs.len() == 1 => format!(" \\\n    --policy {}{engine}", shell_word(dir)),
        _ => engine,
    }
}

/// The policies' directories; for older results, those of the repository.
fn dirs(facts: &Facts) -> impl Iterator<Item = String> + '_ {
    facts.arms.iter().filter_map(|arm| {
        let policy = arm.policy.as_ref()?;
        let known = arm.policy_dir.clone();
        Some(known.unwrap_or_else(|| format!("policies/{}", policy.name)))
    })
}

/// The directory in which to run the command if the policy's path is unknown.
fn policy_note(facts: &Facts) -> &'static str {
    let mut arms = facts.arms.iter();
    match arms.any(|arm| arm.policy.is_some() && arm.policy_dir.is_none()) {
        true => {
            " The result does not record the path of its policy; <code>policies/</code> is in \
             the repository."
        }
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l4sllm_testbed::result::fixture::facts;
    use std::process::Command;

    /// The arguments of `l4sllm` as a shell parses `command`.
    fn arguments(command: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let script = format!("l4sllm() {{ printf '%s\\n' \"$@\"; }}\n{command}\n");
        let output = Command::new("sh")
            .current_dir(dir.path())
            .args(["-eu", "-c", &script])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn names_are_quoted_for_a_shell() {
        let mut facts = facts(&[("dualpi2", None), ("l4sllm-10", Some(10))], 2);
        facts.scenario_file = Some("/it's a $HOME/`x`.toml".to_owned());
        facts.arms[1].policy_dir = Some("/my policy".to_owned());
        facts.duration_ns = 1_234_500_000;
        let arguments = arguments(&command(&facts).unwrap());
        let after = |option: &str| {
            let at = arguments.iter().position(|of| of == option).unwrap();
            arguments[at + 1].as_str()
        };
        assert_eq!(after("run"), "/it's a $HOME/`x`.toml");
        assert_eq!(after("--policy"), "/my policy");
        assert_eq!(after("--arms"), "dualpi2,l4sllm-10");
        assert_eq!(after("--duration"), "1.2345s");
    }

    #[test]
    fn a_run_with_real_packets_is_repeated_in_the_lab() {
        let mut facts = facts(&[("dualpi2", None)], 1);
        facts.scenario_file = Some("headroom".to_owned());
        facts.lab = Some(l4sllm_testbed::result::LabFacts {
            kernel: "6.12 <b>".to_owned(),
            iperf: "iperf 3.18".to_owned(),
            machines: None,
        });
        assert!(
            command(&facts)
                .unwrap()
                .starts_with("l4sllm lab run headroom ")
        );
        let page = run_again(&facts);
        assert!(
            page.contains("Linux 6.12 &lt;b&gt; and iperf 3.18"),
            "{page}"
        );
        assert!(!page.contains("the same packets"), "{page}");
    }

    #[test]
    fn a_run_on_machines_is_repeated_there() {
        let mut facts = facts(&[("dualpi2", None), ("default-10", Some(10))], 3);
        facts.scenario_file = Some("paper".to_owned());
        facts.lab = Some(l4sllm_testbed::result::LabFacts {
            kernel: "FreeBSD 14.1-RELEASE".to_owned(),
            iperf: "iperf 3.17".to_owned(),
            machines: Some(MachinesFacts {
                provider: "ssh".to_owned(),
                arms: ["plain", "default"].map(str::to_owned).to_vec(),
                intervals: vec![10, 100],
            }),
        });
        let arguments = arguments(&command(&facts).unwrap()).join(" ");
        let start = "testbed run paper --provider ssh --inventory machines.toml --out ";
        assert!(arguments.starts_with(start), "{arguments}");
        let arms = " --arms plain,default --interval 10,100 --repetitions 3 --duration ";
        assert!(arguments.contains(arms), "{arguments}");
        assert!(!arguments.contains("--seed"), "{arguments}");
        let page = run_again(&facts);
        assert!(
            page.contains("packets of FreeBSD 14.1-RELEASE and"),
            "{page}"
        );
    }

    #[test]
    fn a_scenario_without_a_file_comes_with_the_command() {
        let mut facts = facts(&[("dualpi2", None)], 1);
        facts.scenario_file = None;
        facts.scenario_toml = "a = '$HOME'\nEND\nb = \"`x`\"".to_owned();
        let script = command(&facts).unwrap() + "\ncat made-up.toml";
        let shown = arguments(&script).join("\n");
        assert!(shown.ends_with(&facts.scenario_toml), "{shown}");
        facts.scenario_toml.clear();
        assert_eq!(command(&facts), None);
    }
}
