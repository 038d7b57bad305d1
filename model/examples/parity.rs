//! Writes random backbones and adapters with their outputs, which
//! `tests/parity/check_peft.py` compares with `transformers` and `peft`:
//!
//! ```sh
//! cargo run -p l4sllm-model --features torch --example parity -- OUT
//! python3 tests/parity/check_peft.py OUT
//! ```
//!
//! The configurations are those of `tests/parity/references`.

use std::error::Error;
use std::fs;
use std::path::Path;

use l4sllm_model::backbone::{BackboneConfig, LoraConfig};
use l4sllm_model::torch::backbone::{Pass, Weights, hidden};
use l4sllm_model::torch::{hub, lora, set_threads};
use tch::{Device, Kind, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args_os().nth(1).ok_or("usage: parity OUT")?;
    set_threads(1);
    let references = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/references");
    let mut variants: Vec<_> = fs::read_dir(references)?.collect::<Result<_, _>>()?;
    variants.sort_by_key(fs::DirEntry::file_name);
    for (number, variant) in variants.iter().enumerate() {
        let config = BackboneConfig::from_dir(&variant.path())?;
        let dir = Path::new(&out).join(variant.file_name());
        write(&config, &dir, number as u64)?;
    }
    Ok(())
}

fn write(config: &BackboneConfig, dir: &Path, seed: u64) -> Result<(), Box<dyn Error>> {
    let _guard = tch::no_grad_guard();
    let lora = LoraConfig {
        r: 4,
        alpha: 8.0,
        rslora: seed % 2 == 1,
        ..LoraConfig::default()
    };
    let mut weights = hub::random(config, seed, CPU.0, CPU.1)?;
    hub::save(&dir.join("base"), config, &weights)?;
    // Random everywhere, because a new adapter would have no effect.
    let adapter: Weights = lora::random(config, &lora, 1, CPU.0, CPU.1)?
        .iter()
        .map(|(name, t)| Ok((name.to_owned(), t.f_randn_like()?.f_mul_scalar(0.3)?)))
        .collect::<Result<_, tch::TchError>>()?;
    lora::save(
        &dir.join("adapter"),
        config,
        &lora,
        &adapter,
        Some("../base"),
    )?;
    weights.extend(adapter);
    let merged = lora::merge(config, &lora, &weights)?;
    hub::save(&dir.join("merged"), config, &merged)?;

    let tokens = 12;
    let embeds = Tensor::f_randn([2, tokens, config.width() as i64], CPU)?;
    let place = Tensor::f_arange(tokens, (Kind::Int64, Device::Cpu))?;
    let mask = Tensor::f_stack(&[place.f_ge(0)?, place.f_ge(5)?], 0)?; // left padding
    let pass = Pass {
        mask: Some(&mask),
        ..Pass::default()
    };
    let adapted = Pass {
        lora: Some(&lora),
        ..pass
    };
    let outputs = [
        ("base", hidden(config, &weights, &embeds, &pass)?),
        ("adapted", hidden(config, &weights, &embeds, &adapted)?),
        ("embeds", embeds),
        ("mask", mask.f_to_kind(Kind::Uint8)?),
    ];
    Tensor::write_safetensors(&outputs, dir.join("outputs.safetensors"))?;
    Ok(())
}
