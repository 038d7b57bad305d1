//! Arms of a comparison: a queue discipline and its controller.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use l4sllm_abi::{
    Action, Dither, Factor, Factors, Limits, Mode, NativeAqm, Params, Queue, Steer, raw,
};
use l4sllm_model::RuleFacts;
use l4sllmd::engine::Preset;
use l4sllmd::{OverrideMode, Scope};

use crate::aqm::{CodelParams, FifoParams, FqCodelParams, PieParams};
use crate::router::params_for_rtt;
use crate::scenario::ArmStudent;
use l4sllm_model::IdleBudget;
use l4sllm_model::strict_toml::{Field, Section, TomlError};

type Result<T> = std::result::Result<T, TomlError>;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// One arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The discipline at the bottleneck.
    pub aqm: Aqm,
    /// The controller, if any.
    pub control: Option<Control>,
    /// Overrides at set times, in order.
    pub script: Vec<Scripted>,
    /// The student in the queue, if any.
    pub student: Option<ArmStudent>,
}

/// A queue discipline with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aqm {
    /// The kernel's queue.
    DualPi2(DualPi2),
    /// Drop-tail.
    Fifo(FifoParams),
    /// RFC 8033.
    Pie(PieParams),
    /// RFC 8289.
    Codel(CodelParams),
    /// RFC 8290.
    FqCodel(FqCodelParams),
}

/// Settings of the kernel's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DualPi2 {
    /// Queue parameters.
    pub params: Params,
    /// Limits of overrides.
    pub limits: Limits,
    /// Records that the ring holds, a power of two from 16 to 2^20.
    pub ring_records: u32,
}

impl Default for DualPi2 {
    fn default() -> Self {
        DualPi2 {
            params: Params::default(),
            limits: Limits::default(),
            ring_records: 4096,
        }
    }
}

/// The controller in the loop.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// The engine.
    pub engine: ControlEngine,
    /// Records between two decisions of a policy on records, 1..=65536.
    pub interval: NonZeroU32,
    /// Time between two decisions of the adaptive rule, ns; a policy on
    /// summaries has its own.
    pub period_ns: u64,
    /// Idle budget of the rule or of a policy on summaries; `None`: its own.
    pub idle_budget: Option<IdleBudget>,
    /// How a decision becomes an override.
    pub mode: OverrideMode,
    /// Packets that it applies to.
    pub queue: Scope,
    /// Lifetime of an override, ns.
    pub ttl_ns: u64,
    /// Time from the end of an interval until the override of its decision
    /// takes effect.
    pub latency: Latency,
}

/// An engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlEngine {
    /// A policy: its directory.
    Policy(PathBuf),
    /// The adaptive rule.
    Adaptive(Preset),
}

impl Control {
    /// The published setting: the next packet, after every `interval`
    /// records; 100 us until the override takes effect.
    pub fn new(policy: &Path, interval: NonZeroU32) -> Control {
        Control {
            engine: ControlEngine::Policy(policy.to_owned()),
            interval,
            period_ns: PERIOD_NS,
            idle_budget: None,
            mode: OverrideMode::Once,
            queue: Scope::Same,
            ttl_ns: S,
            latency: Latency::Fixed(100 * US),
        }
    }

    /// The adaptive rule, every 100 ms.
    pub fn adaptive(preset: Preset) -> Control {
        Control {
            engine: ControlEngine::Adaptive(preset),
            ..Control::new(Path::new(""), NonZeroU32::MIN)
        }
    }

    /// The rule and its period, if one decides.
    pub fn rule(&self) -> Option<RuleFacts> {
        match self.engine {
            ControlEngine::Policy(_) => None,
            ControlEngine::Adaptive(preset) => Some(RuleFacts {
                name: "adaptive".to_owned(),
                preset: preset.name().to_owned(),
                period_ns: self.period_ns,
                idle_budget: self.idle_budget.map(IdleBudget::share),
            }),
        }
    }

    /// The decision latency, ns, unless it is measured.
    pub fn set_latency_ns(&self) -> Option<u64> {
        match self.latency {
            Latency::Fixed(ns) => Some(ns),
            Latency::Measured => None,
        }
    }

    /// The directory of the policy, if one decides.
    pub fn policy(&self) -> Option<&Path> {
        match &self.engine {
            ControlEngine::Policy(path) => Some(path),
            ControlEngine::Adaptive(_) => None,
        }
    }
}

/// Between two decisions of the adaptive rule.
const PERIOD_NS: u64 = 100_000_000;

/// Records between two decisions of a policy, as in the daemon.
const INTERVAL: NonZeroU32 = NonZeroU32::new(100).expect("not 0");

/// Duration of a decision in virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// Always this long, ns.
    Fixed(u64),
    /// The measured duration. Runs are then not reproducible to the byte.
    Measured,
}

/// An override at a set time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scripted {
    /// Time of sending, ns.
    pub at_ns: u64,
    /// Its lifetime, ns.
    pub ttl_ns: u64,
    /// Its content.
    pub mode: Mode,
}

impl Arm {
    /// An arm without a controller.
    pub fn new(name: &str, aqm: Aqm) -> Arm {
        Arm {
            name: name.to_owned(),
            aqm,
            control: None,
            script: Vec::new(),
            student: None,
        }
    }

    /// Plain DualPI2 with the given parameters.
    pub fn dualpi2(name: &str, params: Params) -> Arm {
        Arm::new(
            name,
            Aqm::DualPi2(DualPi2 {
                params,
                ..DualPi2::default()
            }),
        )
    }

    /// Whether something sends overrides.
    pub fn is_controlled(&self) -> bool {
        self.control.is_some() || !self.script.is_empty()
    }
}

impl Aqm {
    /// Its name in scenarios and results.
    pub fn name(&self) -> &'static str {
        match self {
            Aqm::DualPi2(_) => "dualpi2",
            Aqm::Fifo(_) => "fifo",
            Aqm::Pie(_) => "pie",
            Aqm::Codel(_) => "codel",
            Aqm::FqCodel(_) => "fq-codel",
        }
    }
}

pub(super) fn read(mut section: Section<'_>, file: &Path, duration_ns: u64) -> Result<Arm> {
    let disciplines = [
        ("dualpi2", Aqm::DualPi2(DualPi2::default())),
        ("fifo", Aqm::Fifo(FifoParams::default())),
        ("pie", Aqm::Pie(PieParams::default())),
        ("codel", Aqm::Codel(CodelParams::default())),
        ("fq-codel", Aqm::FqCodel(FqCodelParams::default())),
    ];
    let aqm = section.require("aqm")?.choice(&disciplines)?;
    let name = match section.field("name") {
        Some(field) => super::values::name(&field)?,
        None => aqm.name().to_owned(),
    };
    let mut arm = Arm::new(&name, aqm);
    if let Aqm::DualPi2(dualpi2) = &mut arm.aqm {
        read_dualpi2(&mut section, dualpi2)?;
        if let Some(field) = section.field("control") {
            let control = read_control(field.section()?, file, &dualpi2.limits)?;
            let records = control.policy().map_or(0, |_| control.interval.get());
            if u64::from(records) * 2 > u64::from(dualpi2.ring_records) {
                return Err(section.error("ring_records", "must hold two intervals of records"));
            }
            arm.control = Some(control);
        }
        if let Some(field) = section.field("student") {
            arm.student = Some(super::student::read(field.section()?, file)?);
        }
        for entry in section.sections("script")? {
            arm.script
                .push(read_scripted(entry, &dualpi2.limits, duration_ns)?);
        }
        arm.script.sort_by_key(|entry| entry.at_ns);
    } else {
        for key in [
            "profile",
            "limits",
            "ring_records",
            "control",
            "student",
            "script",
        ] {
            if section.has(key) {
                return Err(section.error(key, "allowed only for dualpi2"));
            }
        }
        if let Some(field) = section.field("params") {
            read_baseline(field.section()?, &mut arm.aqm)?;
        }
    }
    section.finish()?;
    Ok(arm)
}

fn read_dualpi2(section: &mut Section<'_>, dualpi2: &mut DualPi2) -> Result<()> {
    if let Some(field) = section.field("profile") {
        dualpi2.params = field.choice(&[
            ("default", Params::default()),
            ("tuned", Params::tuned()),
            ("paper", Params::paper()),
        ])?;
    }
    if let Some(field) = section.field("ring_records") {
        dualpi2.ring_records = field.count(16..=1 << 20)?;
        if !dualpi2.ring_records.is_power_of_two() {
            return Err(field.error("expected a power of two of 16 to 1048576"));
        }
    }
    if let Some(field) = section.field("params") {
        read_params(field.section()?, &mut dualpi2.params)?;
    }
    if let Some(field) = section.field("limits") {
        read_limits(field.section()?, &mut dualpi2.limits)?;
    }
    Ok(())
}

/// Every field of `struct l4s_params` except `l4s_dscp`, because packets here
/// have no DSCP; ranges as in its header.
fn read_params(mut section: Section<'_>, params: &mut Params) -> Result<()> {
    read_rtt(&mut section, params)?;
    let set = |target: &mut u64, field: Option<Field<'_>>, range| -> Result<()> {
        if let Some(field) = field {
            *target = field.duration(range)?;
        }
        Ok(())
    };
    set(&mut params.target_ns, section.field("target"), US..=5 * S)?;
    set(
        &mut params.tupdate_ns,
        section.field("tupdate"),
        100 * US..=S,
    )?;
    set(
        &mut params.l4s_threshold_ns,
        section.field("l4s_threshold"),
        0..=S,
    )?;
    set(&mut params.l4s_range_ns, section.field("l4s_range"), 1..=S)?;
    set(
        &mut params.max_burst_ns,
        section.field("max_burst"),
        0..=10 * S,
    )?;
    if let Some(field) = section.field("alpha") {
        params.alpha_uhz = scaled(field.number(0.0..=4000.0)?, 1e6);
    }
    if let Some(field) = section.field("beta") {
        params.beta_uhz = scaled(field.number(0.0..=4000.0)?, 1e6);
    }
    if let Some(field) = section.field("coupling") {
        params.coupling_q8 = scaled(field.number(1.0..=255.99)?, 256.0);
    }
    if let Some(field) = section.field("l4s_min_packets") {
        params.l4s_min_packets = field.count(0..=1 << 20)?;
    }
    if let Some(field) = section.field("limit") {
        params.limit_packets = field.count(1..=1 << 20)?;
    }
    if let Some(field) = section.field("limit_bytes") {
        let bytes = field.size(0..=u64::from(u32::MAX))?;
        if (1..u64::from(raw::L4S_MTU)).contains(&bytes) {
            return Err(field.error("expected 0, or a packet of full size: 1500 B or more"));
        }
        params.limit_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    }
    if let Some(field) = section.field("max_ecnth") {
        params.max_ecnth = scaled(field.number(0.0..=1.0)?, f64::from(raw::L4S_PROB_ONE));
    }
    if let Some(field) = section.field("classic_weight") {
        params.classic_weight = u8::try_from(field.count(0..=100)?).unwrap_or(u8::MAX);
    }
    if let Some(field) = section.field("dither") {
        params.dither = field.choice(&[("recur", Dither::Recur), ("random", Dither::Random)])?;
    }
    if let Some(field) = section.field("laqm") {
        params.laqm = field.choice(&[("step", NativeAqm::Step), ("ramp", NativeAqm::Ramp)])?;
    }
    if let Some(field) = section.field("ecn") {
        params.ecn = field.boolean()?;
    }
    if let Some(field) = section.field("l4s_ecn") {
        params.any_ect = field.choice(&[("ect1", false), ("any", true)])?;
    }
    if let Some(field) = section.field("overflow") {
        params.overflow = field.boolean()?;
    }
    if let Some(field) = section.field("flow_weights") {
        params.flow_weights = field.boolean()?;
    }
    section.finish()
}

/// `typical_rtt` and `max_rtt`: derived values, which explicit settings of the
/// arm override.
fn read_rtt(section: &mut Section<'_>, params: &mut Params) -> Result<()> {
    let typical = section.field("typical_rtt");
    let max = section.field("max_rtt");
    let last = if max.is_some() {
        "max_rtt"
    } else {
        "typical_rtt"
    };
    let read = |field: Option<Field<'_>>, range| -> Result<Option<u64>> {
        field.map(|field| field.duration(range)).transpose()
    };
    let typical = read(typical, 100 * US..=S)?;
    let max = read(max, 300 * US..=10 * S)?;
    if typical.is_none() && max.is_none() {
        return Ok(());
    }
    *params = params_for_rtt(params, typical, max)
        .map_err(|_| section.error(last, "typical_rtt is above max_rtt, or both are too short"))?;
    Ok(())
}

fn read_limits(mut section: Section<'_>, limits: &mut Limits) -> Result<()> {
    let one = f64::from(raw::L4S_FACTOR_ONE);
    if let Some(field) = section.field("ceiling") {
        limits.ceiling_ns = field.duration(1..=1000 * S)?;
    }
    if let Some(field) = section.field("max_ttl") {
        limits.max_ttl_ns = field.duration(1..=1000 * S)?;
    }
    if let Some(field) = section.field("watchdog") {
        limits.watchdog_ns = field.duration(0..=1000 * S)?;
    }
    if let Some(field) = section.field("max_hold") {
        limits.max_hold = field.count(1..=u32::MAX)?;
    }
    if let Some(field) = section.field("drop_share") {
        limits.drop_share = scaled(field.number(0.0..=1.0)?, one);
    }
    if let Some(field) = section.field("mark_share") {
        limits.mark_share = scaled(field.number(0.0..=1.0)?, one);
    }
    if let Some(field) = section.field("factor_min") {
        limits.factor_min = scaled(field.number(0.001..=1.0)?, one);
    }
    if let Some(field) = section.field("factor_max") {
        limits.factor_max = scaled(field.number(1.0..=256.0)?, one);
    }
    if let Some(field) = section.field("gain_min") {
        limits.gain_min = scaled(field.number(0.001..=1.0)?, one);
    }
    if let Some(field) = section.field("gain_max") {
        limits.gain_max = scaled(field.number(1.0..=256.0)?, one);
    }
    section.finish()
}

fn read_baseline(mut section: Section<'_>, aqm: &mut Aqm) -> Result<()> {
    match aqm {
        Aqm::DualPi2(_) => {}
        Aqm::Fifo(params) => {
            if let Some(field) = section.field("limit") {
                params.limit_packets = field.count(1..=1 << 20)?;
            }
        }
        Aqm::Pie(params) => {
            if let Some(field) = section.field("target") {
                params.target_ns = field.duration(US..=5 * S)?;
            }
            if let Some(field) = section.field("tupdate") {
                params.tupdate_ns = field.duration(100 * US..=S)?;
            }
            if let Some(field) = section.field("max_burst") {
                params.max_burst_ns = field.duration(0..=10 * S)?;
            }
            if let Some(field) = section.field("alpha") {
                params.alpha = field.number(0.0..=4000.0)?;
            }
            if let Some(field) = section.field("beta") {
                params.beta = field.number(0.0..=4000.0)?;
            }
            if let Some(field) = section.field("max_ecnth") {
                params.max_ecnth = field.number(0.0..=1.0)?;
            }
            if let Some(field) = section.field("limit") {
                params.limit_packets = field.count(1..=1 << 20)?;
            }
            if let Some(field) = section.field("ecn") {
                params.ecn = field.boolean()?;
            }
        }
        Aqm::Codel(params) => read_codel(&mut section, params)?,
        Aqm::FqCodel(params) => {
            read_codel(&mut section, &mut params.codel)?;
            if let Some(field) = section.field("quantum") {
                params.quantum = u32::try_from(field.size(64..=1 << 20)?).unwrap_or(u32::MAX);
            }
            if let Some(field) = section.field("flows") {
                params.flows = field.count(1..=65_536)?;
            }
        }
    }
    section.finish()
}

fn read_codel(section: &mut Section<'_>, params: &mut CodelParams) -> Result<()> {
    if let Some(field) = section.field("target") {
        params.target_ns = field.duration(US..=5 * S)?;
    }
    if let Some(field) = section.field("interval") {
        params.interval_ns = field.duration(100 * US..=10 * S)?;
    }
    if let Some(field) = section.field("limit") {
        params.limit_packets = field.count(1..=1 << 20)?;
    }
    if let Some(field) = section.field("ecn") {
        params.ecn = field.boolean()?;
    }
    Ok(())
}

fn read_control(mut section: Section<'_>, file: &Path, limits: &Limits) -> Result<Control> {
    if section.has("engine") {
        return read_adaptive(section, limits);
    }
    let policy = super::values::near(file, section.require("policy")?.text()?);
    let interval = section
        .field("interval")
        .map(|field| field.positive(65_536));
    let interval = interval.transpose()?.unwrap_or(INTERVAL);
    let mut control = Control::new(&policy, interval);
    let hold = section.field("mode").map_or(Ok(false), |field| {
        field.choice(&[("once", false), ("hold", true)])
    })?;
    if hold {
        control.mode = OverrideMode::Hold(section.require("hold")?.positive(limits.max_hold)?);
    } else if section.has("hold") {
        return Err(section.error("hold", "allowed only with mode = \"hold\""));
    }
    if let Some(field) = section.field("queue") {
        control.queue = field.choice(&[("same", Scope::Same), ("any", Scope::Any)])?;
    }
    read_timing(&mut section, limits, &mut control)?;
    section.finish()?;
    Ok(control)
}

/// `engine = "adaptive"`.
fn read_adaptive(mut section: Section<'_>, limits: &Limits) -> Result<Control> {
    let mut control = read_rule(&mut section)?;
    read_timing(&mut section, limits, &mut control)?;
    check_life(&section, &control)?;
    section.finish()?;
    Ok(control)
}

/// Refuses overrides that expire before the next decision of the rule.
pub(super) fn check_life(section: &Section<'_>, control: &Control) -> Result<()> {
    if control.ttl_ns > control.period_ns {
        return Ok(());
    }
    let key = if section.has("ttl") { "ttl" } else { "period" };
    let ms = |ns: u64| ns as f64 / MS as f64;
    Err(section.error(
        key,
        format!(
            "ttl ({} ms) must be longer than period ({} ms): an override would end before the \
             next decision",
            ms(control.ttl_ns),
            ms(control.period_ns)
        ),
    ))
}

/// `engine`, `preset` and `period` of the adaptive rule.
pub(super) fn read_rule(section: &mut Section<'_>) -> Result<Control> {
    section.require("engine")?.choice(&[("adaptive", ())])?;
    let mut control = Control::adaptive(read_preset(section)?);
    if let Some(field) = section.field("period") {
        control.period_ns = field.duration(MS..=60 * S)?;
    }
    Ok(control)
}

/// `preset` of the adaptive rule.
pub(super) fn read_preset(section: &mut Section<'_>) -> Result<Preset> {
    let field = section.field("preset");
    field.map_or(Ok(Preset::default()), |field| field.choice(&Preset::NAMES))
}

/// An idle budget, share of time.
pub(super) fn read_budget(field: &Field<'_>) -> Result<IdleBudget> {
    let share = field.number(IdleBudget::SHARES)?;
    IdleBudget::new(share).ok_or_else(|| field.error("expected a share of 0.001 to 0.02"))
}

fn read_timing(section: &mut Section<'_>, limits: &Limits, control: &mut Control) -> Result<()> {
    if let Some(field) = section.field("idle_budget") {
        control.idle_budget = Some(read_budget(&field)?);
    }
    if let Some(field) = section.field("ttl") {
        control.ttl_ns = field.duration(1..=limits.max_ttl_ns)?;
    }
    if let Some(field) = section.field("latency") {
        control.latency = if field.text()? == "measured" {
            Latency::Measured
        } else {
            Latency::Fixed(field.duration(0..=S)?)
        };
    }
    match control.latency {
        Latency::Fixed(latency_ns) if latency_ns >= control.ttl_ns => Err(section.error(
            if section.has("latency") {
                "latency"
            } else {
                "ttl"
            },
            format!(
                "latency ({} ms) must be shorter than ttl ({} ms): every override would end \
                 before it takes effect",
                latency_ns as f64 / MS as f64,
                control.ttl_ns as f64 / MS as f64
            ),
        )),
        _ => Ok(()),
    }
}

fn read_scripted(mut section: Section<'_>, limits: &Limits, duration_ns: u64) -> Result<Scripted> {
    #[derive(Clone, Copy)]
    enum Kind {
        Once,
        Hold,
        Steer,
    }
    let at_ns = section.require("at")?.duration(0..=duration_ns)?;
    let ttl_ns = section.require("for")?.duration(1..=limits.max_ttl_ns)?;
    let kinds = [
        ("once", Kind::Once),
        ("hold", Kind::Hold),
        ("steer", Kind::Steer),
    ];
    let mode = match section.require("mode")?.choice(&kinds)? {
        Kind::Once => {
            let (action, queue) = read_action(&mut section)?;
            Mode::Once { action, queue }
        }
        Kind::Hold => {
            let (action, queue) = read_action(&mut section)?;
            let packets = section.require("packets")?.positive(limits.max_hold)?;
            Mode::Hold {
                action,
                queue,
                packets,
            }
        }
        Kind::Steer => {
            let factors = Factors::read(|key| read_factor(&mut section, key, limits))?;
            let steer = Steer::new(factors);
            Mode::Steer(steer.map_err(|error| section.error("mode", error))?)
        }
    };
    section.finish()?;
    Ok(Scripted {
        at_ns,
        ttl_ns,
        mode,
    })
}

fn read_action(section: &mut Section<'_>) -> Result<(Action, Option<Queue>)> {
    let actions = [
        ("enqueue", Action::Enqueue),
        ("drop", Action::Drop),
        ("mark", Action::Mark),
    ];
    let action = section.require("action")?.choice(&actions)?;
    let queues = [
        ("classic", Some(Queue::Classic)),
        ("l4s", Some(Queue::L4s)),
        ("any", None),
    ];
    let queue = section
        .field("queue")
        .map_or(Ok(None), |field| field.choice(&queues))?;
    Ok((action, queue))
}

fn read_factor(
    section: &mut Section<'_>,
    key: &'static str,
    limits: &Limits,
) -> Result<Option<Factor>> {
    let Some(field) = section.field(key) else {
        return Ok(None);
    };
    let factor = Factor::new(field.number(limits.factors(key))?);
    factor.map(Some).map_err(|error| field.error(error))
}

/// `value` times `one`, rounded; callers check the range of `value`.
fn scaled(value: f64, one: f64) -> u32 {
    (value * one).round() as u32
}
