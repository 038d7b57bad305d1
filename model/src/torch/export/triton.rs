//! Files of a model for a Triton server and its users: `config.pbtxt` and
//! `README.md`.

use tch::Device;

use super::{MODEL_FILE, TritonModel, rule};
use crate::{ACTIONS, PolicyConfig};

impl TritonModel {
    /// `config.pbtxt`.
    pub(super) fn config(&self, policy: &PolicyConfig, device: Device) -> String {
        let (w, inputs) = (policy.window, inputs(policy));
        // Constants in the module are on one device.
        let group = match device {
            Device::Cuda(index) => format!("kind: KIND_GPU\n    gpus: [ {index} ]"),
            _ => "kind: KIND_CPU".to_owned(),
        };
        let input = |index: usize, kind: &str, dims: &str| {
            format!(
                "  {{\n    name: \"INPUT__{index}\"\n    data_type: {kind}\n    dims: [ {dims} ]\n  }}"
            )
        };
        let inputs = [
            input(0, "TYPE_FP64", &format!("{w}")),
            input(1, "TYPE_FP64", &format!("{w}, {inputs}")),
            input(2, "TYPE_INT64", &format!("{w}")),
        ];
        format!(
            "# {w} records of policy \"{policy_name}\": README.md describes its inputs and \
             outputs.\n\
             {meaning}\
             name: \"{name}\"\n\
             platform: \"pytorch_libtorch\"\n\
             default_model_filename: \"{MODEL_FILE}\"\n\
             max_batch_size: {max}\n\
             input [\n{inputs}\n]\n\
             output [\n  {{\n    name: \"OUTPUT__0\"\n    data_type: TYPE_FP32\n    dims: [ {ACTIONS} ]\n  }}\n]\n\
             dynamic_batching {{\n  max_queue_delay_microseconds: {delay}\n}}\n\
             instance_group [\n  {{\n    count: 1\n    {group}\n  }}\n]\n\
             # Batches differ in size; a new graph for each would cost seconds.\n\
             parameters {{\n  key: \"DISABLE_OPTIMIZED_EXECUTION\"\n  value {{ string_value: \"true\" }}\n}}\n\
             parameters {{\n  key: \"INFERENCE_MODE\"\n  value {{ string_value: \"true\" }}\n}}\n\
             {parameters}",
            policy_name = policy.name.escape_default(),
            name = self.name,
            max = self.max_batch.max(1),
            inputs = inputs.join(",\n"),
            delay = self.queue_delay_us,
            meaning = meaning(policy),
            parameters = parameters(policy),
        )
    }

    /// Instructions for calling the model.
    pub(super) fn readme(&self, policy: &PolicyConfig) -> String {
        let (name, w, n) = (&self.name, policy.window, inputs(policy));
        let mut columns = String::new();
        let mut at = 0;
        for feature in &policy.features {
            let history = feature.encoder.history();
            let what = feature.name.name();
            columns += &match history {
                1 => format!("| {at} | `{what}` |\n"),
                _ => format!(
                    "| {at} to {} | `{what}` of the last {history} records, oldest first; \
                     padded with the first |\n",
                    at + history - 1
                ),
            };
            at += history;
        }
        format!(
            "# {name}\n\n\
             Policy `{policy_name}` of l4sllm as a model for Triton (`pytorch_libtorch`).  Put this\n\
             directory into the server's model repository.\n\n\
             A request has windows of exactly {w} records of one scheduler, oldest first, \
             unscaled\n\
             as in the records.\n\n\
             | tensor | type | shape | |\n|---|---|---|---|\n\
             | `INPUT__0` | FP64 | [{w}] | return-to-go of each record; the policy's target is \
             {target} |\n\
             | `INPUT__1` | FP64 | [{w}, {n}] | features of each record, in the columns below |\n\
             | `INPUT__2` | INT64 | [{w}] | actions: 0 enqueue, 1 drop, 2 mark; the newest \
             record's is ignored |\n\
             | `OUTPUT__0` | FP32 | [{ACTIONS}] | after the newest record, probabilities of {outcome} |\n\n\
             Meaning of the outputs:\n\n\
             | index | output |\n|---|---|\n{outcomes}\n\
             Decision rule `{rule}`: {rule_in_words}.  Then {effect}.\n\n\
             | column | feature |\n|---|---|\n{columns}\n\
             ```python\n\
             import numpy, tritonclient.grpc as triton\n\n\
             client = triton.InferenceServerClient(\"localhost:8001\")\n\
             windows = 1\n\
             returns = numpy.full((windows, {w}), {target}, numpy.float64)\n\
             features = numpy.zeros((windows, {w}, {n}), numpy.float64)\n\
             actions = numpy.zeros((windows, {w}), numpy.int64)\n\
             inputs = []\n\
             for index, (array, kind) in enumerate([(returns, \"FP64\"), (features, \"FP64\"), (actions, \"INT64\")]):\n\
             \x20   tensor = triton.InferInput(f\"INPUT__{{index}}\", array.shape, kind)\n\
             \x20   tensor.set_data_from_numpy(array)\n\
             \x20   inputs.append(tensor)\n\
             print(client.infer(\"{name}\", inputs).as_numpy(\"OUTPUT__0\"))\n\
             ```\n",
            policy_name = policy.name,
            outcome = policy.outcome(),
            outcomes = rows(policy),
            rule = rule(policy),
            rule_in_words = policy.rule_in_words(),
            effect = policy.effect_in_words(),
            target = policy.returns.target,
        )
    }
}

/// The outputs and the decision rule, as comments in `config.pbtxt`.
fn meaning(policy: &PolicyConfig) -> String {
    let mut lines = vec![format!("OUTPUT__0: probabilities of {}:", policy.outcome())];
    for (index, outcome) in policy.outcomes().iter().enumerate() {
        lines.push(format!("  {index}: {outcome}"));
    }
    let (rule, words) = (rule(policy), policy.rule_in_words());
    lines.push(format!("Decision rule {rule}: {words}."));
    lines.push(format!("Then {}.", policy.effect_in_words()));
    lines.iter().map(|line| format!("# {line}\n")).collect()
}

/// The outputs and the decision rule as parameters, which the server stores but
/// does not interpret.
fn parameters(policy: &PolicyConfig) -> String {
    let outcomes = policy.outcomes();
    let outputs = (0..)
        .zip(&outcomes)
        .map(|(i, o)| (format!("output_{i}"), o.as_str()));
    let rule = rule(policy);
    let rule = [
        ("decision_rule".to_owned(), rule.as_str()),
        ("decision".to_owned(), policy.rule_in_words()),
        ("effect".to_owned(), policy.effect_in_words()),
    ];
    let parameter = |(key, value): (String, &str)| {
        format!("parameters {{\n  key: \"{key}\"\n  value {{ string_value: \"{value}\" }}\n}}\n")
    };
    outputs.chain(rule).map(parameter).collect()
}

/// The outputs, as table rows.
fn rows(policy: &PolicyConfig) -> String {
    let row = |(index, outcome): (usize, &String)| format!("| {index} | {outcome} |\n");
    policy.outcomes().iter().enumerate().map(row).collect()
}

/// Names of the inputs from one record's features.
fn inputs(policy: &PolicyConfig) -> usize {
    policy.features.iter().map(|f| f.encoder.history()).sum()
}
