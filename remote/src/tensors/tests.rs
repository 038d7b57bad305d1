//! Tests of names, shapes and values.

#![allow(clippy::unwrap_used, reason = "tests")]

use l4sllm_model::{Feature, SummaryFeature};

use super::*;

fn on_records() -> Contract {
    let mut config = PolicyConfig::new("records", &Feature::PAPER7);
    config.window = 5;
    Contract::of(Arc::new(config))
}

fn on_summaries() -> Contract {
    let mut config = PolicyConfig::on_summaries("periods", SummaryFeature::ALL);
    config.window = 5;
    Contract::of(Arc::new(config))
}

/// A window of three records.
fn window(contract: &Contract) -> Window {
    let config = contract.config();
    let (n, k) = (config.inputs(), config.action_inputs());
    let values = |count: usize| (0..count).map(|i| i as f32 / 8.0 - 1.0).collect();
    Window {
        returns: vec![0.5; 3],
        inputs: values(3 * n),
        actions: vec![2.0 / 3.0; 3 * k],
    }
}

#[test]
fn a_window_survives_its_request() {
    for contract in [on_records(), on_summaries()] {
        let window = window(&contract);
        let mut request = contract.request("m", &window);
        let asked = contract.asked(&request, 1).unwrap();
        assert_eq!(
            (asked.raw, &asked.windows[..]),
            (true, &[window.clone()][..])
        );
        // The same as lists, in another order.
        let raw = std::mem::take(&mut request.raw_input_contents);
        for (input, raw) in request.inputs.iter_mut().zip(raw) {
            let values = floats(&raw, raw.len() / 4).unwrap();
            input.contents = Some(InferTensorContents {
                fp32_contents: values,
                ..InferTensorContents::default()
            });
        }
        request.inputs.reverse();
        let asked = contract.asked(&request, 1).unwrap();
        assert_eq!((asked.raw, &asked.windows[..]), (false, &[window][..]));
    }
}

#[test]
fn outputs_survive_their_response() {
    let outputs = [0.125, -1.5, f32::MIN_POSITIVE, 3.0, 0.0, -0.0, 1e30, 7.0];
    let contract = on_summaries();
    let request = contract.request("m", &window(&contract));
    for raw in [true, false] {
        let response = contract.response(&request, "1", &[outputs], raw);
        assert_eq!(contract.outputs(&response).unwrap(), outputs);
    }
}

#[test]
fn hostile_requests_are_refused_with_the_reason() {
    let contract = on_records();
    let good = contract.request("m", &window(&contract));
    let refused = |change: &dyn Fn(&mut ModelInferRequest)| {
        let mut request = good.clone();
        change(&mut request);
        contract.asked(&request, 4).unwrap_err().to_string()
    };
    type Change = fn(&mut ModelInferRequest);
    let cases: [(Change, &str); 12] = [
        (|r| r.inputs.clear(), "inputs none: expected returns"),
        (
            |r| r.inputs[1].name = "x\n".into(),
            "inputs returns, x\\n, actions",
        ),
        (
            |r| r.inputs[2] = r.inputs[0].clone(),
            "inputs returns, inputs, returns",
        ),
        (
            |r| r.inputs[0].datatype = "FP64".into(),
            "FP64 [1, 3, 1]: expected FP32 [-1, -1, 1]",
        ),
        (
            |r| r.inputs[1].shape = vec![1, 3, 8],
            "expected FP32 [1, 3, 7]",
        ),
        (
            |r| r.inputs[1].shape = vec![1; 99],
            "[1, 1, 1, 1, 1, 1, 1, 1, …]",
        ),
        (|r| r.inputs[0].shape = vec![1, 6, 1], "FP32 [1, 6, 1]"),
        (|r| r.inputs[0].shape = vec![-1, 3, 1], "FP32 [-1, 3, 1]"),
        (
            |r| r.inputs[0].shape = vec![1 << 62, 3, 1],
            "windows in one request: expected at most 4",
        ),
        (
            |r| r.raw_input_contents[2].truncate(5),
            "\"actions\" has 5 bytes or values: expected 3",
        ),
        (|r| r.raw_input_contents.clear(), "has 0 bytes or values"),
        (|r| r.raw_input_contents.truncate(2), "expected returns"),
    ];
    for (change, words) in cases {
        let error = refused(&change);
        assert!(error.contains(words), "{error:?} has no {words:?}");
    }
}

#[test]
fn windows_with_unusable_values_have_no_steps() {
    let contract = on_records();
    let config = contract.config();
    let good = window(&contract);
    assert_eq!(good.steps(config).unwrap().len(), 3);
    let changed = |change: fn(&mut Window)| {
        let mut window = good.clone();
        change(&mut window);
        window.steps(config)
    };
    assert_eq!(changed(|w| w.inputs[4] = f32::NAN), None);
    assert_eq!(changed(|w| w.returns[0] = f32::INFINITY), None);
    assert_eq!(changed(|w| w.actions[0] = 0.5), None);
    assert_eq!(changed(|w| w.inputs.truncate(20)), None);
    assert_eq!(Window::default().steps(config), None);
}

#[test]
fn hostile_responses_are_refused_with_the_reason() {
    let contract = on_records();
    let request = contract.request("m", &window(&contract));
    let mut outputs = [0.0; OUTPUTS_MAX];
    outputs[..3].copy_from_slice(&[0.5, 0.25, 0.25]);
    let good = contract.response(&request, "1", &[outputs], true);
    assert_eq!(contract.outputs(&good).unwrap(), outputs);
    let set = |value: f32| {
        move |r: &mut ModelInferResponse| {
            r.raw_output_contents[0][..4].copy_from_slice(&value.to_le_bytes());
        }
    };
    let refused = |change: &dyn Fn(&mut ModelInferResponse)| {
        let mut response = good.clone();
        change(&mut response);
        contract.outputs(&response).unwrap_err().to_string()
    };
    type Change<'a> = &'a dyn Fn(&mut ModelInferResponse);
    let cases: [(Change<'_>, &str); 8] = [
        (&|r| r.outputs.clear(), "found none"),
        (&|r| r.outputs[0].name = "results".into(), "found results"),
        (
            &|r| r.outputs[0].datatype = "BF16".into(),
            "BF16 [1, 3]: expected FP32 [1, 3]",
        ),
        (&|r| r.outputs[0].shape = vec![3], "FP32 [3]"),
        (
            &|r| r.raw_output_contents[0].truncate(7),
            "7 bytes or values: expected 3",
        ),
        (&|r| r.raw_output_contents.clear(), "0 bytes or values"),
        (&set(f32::NAN), "not finite"),
        (&set(5.0), "not probabilities"),
    ];
    for (change, words) in cases {
        let error = refused(change);
        assert!(error.contains(words), "{error:?} has no {words:?}");
    }
}

#[test]
fn metadata_of_other_models_is_refused_with_the_difference() {
    let contract = on_records();
    let good = contract.metadata("1");
    assert_eq!(contract.check(&good), Ok(None));
    let checked = |change: fn(&mut ModelMetadataResponse)| {
        let mut metadata = good.clone();
        change(&mut metadata);
        contract.check(&metadata)
    };
    // A server without batches, and one that takes full windows only.
    assert_eq!(
        checked(|m| m.inputs.iter_mut().for_each(|i| i.shape[0] = 1)),
        Ok(None)
    );
    assert_eq!(
        checked(|m| m.inputs.iter_mut().for_each(|i| i.shape[1] = 5)),
        Ok(Some(5))
    );
    type Change = fn(&mut ModelMetadataResponse);
    let cases: [(Change, &str); 7] = [
        (
            |m| m.inputs.clear(),
            "no input \"returns\": expected FP32 [-1, -1, 1], found none",
        ),
        (
            |m| m.inputs[1].shape[2] = 9,
            "\"inputs\" is FP32 [-1, -1, 9]: expected FP32 [-1, 5, 7]",
        ),
        (
            |m| m.inputs[0].shape[1] = 4,
            "\"returns\" is FP32 [-1, 4, 1]",
        ),
        (|m| m.inputs[0].datatype = "INT8".into(), "INT8"),
        (
            |m| m.outputs[0].shape = vec![-1, 8],
            "expected FP32 [-1, 3]",
        ),
        (
            |m| m.outputs[0].name = "y".into(),
            "no output \"outputs\": expected FP32 [-1, 3], found y",
        ),
        (
            |m| {
                let mut other = m.inputs[0].clone();
                other.name = "mask".into();
                m.inputs.push(other);
            },
            "an input \"mask\"",
        ),
    ];
    for (change, words) in cases {
        let error = checked(change).unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} has no {words:?}");
    }
}
