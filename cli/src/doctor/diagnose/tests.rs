//! Tables of facts and the findings expected from them.

use l4sllm_abi::raw::l4s_stats;
use l4sllmd::status::{Counters, DeviceStatus, EngineStatus, Quantiles, Reloads, RemoteStatus};

use super::super::facts::Offload;
use super::*;

fn stats(change: impl Fn(&mut l4s_stats)) -> Box<Stats> {
    let mut raw = Stats::question(0, 0);
    change(&mut raw);
    Box::new(Stats::try_from(raw).unwrap())
}

fn status(change: impl Fn(&mut Status)) -> Status {
    let mut status = Status {
        version: "1".into(),
        pid: 7,
        uptime_s: 60.0,
        state: State::Running,
        abi: (1, 1),
        device: DeviceStatus {
            path: "/dev/l4sllm".into(),
            module: Some("1".into()),
            abi: Some((1, 1)),
            opened: 1,
        },
        engine: EngineStatus::Policy {
            name: "p".into(),
            path: "/p".into(),
            hash: "00".into(),
            runs_on: None,
            fallback: None,
            period_ms: None,
        },
        interval: 100,
        period_ms: 0,
        ttl_ms: 1000,
        idle_budget: None,
        reloads: Reloads::default(),
        counters: Counters {
            records: 1000,
            due: 10,
            decisions: 10,
            overrides: 10,
            accepted: 10,
            ..Default::default()
        },
        latency_us: Quantiles::default(),
        latency_minute_us: Quantiles::default(),
        decision_us: Quantiles::default(),
        decision_minute_us: Quantiles::default(),
        deciding_s: 0.0,
        in_force: None,
        recorder: None,
        control: None,
        remote: None,
    };
    change(&mut status);
    status
}

/// A healthy queue, modified by `change` at both ends of the watch.
fn counts(change: impl Fn(&mut l4s_stats)) -> Device {
    let base = |packets: u64| {
        stats(|s| {
            s.packets_in = packets;
            s.forwarded = packets;
            s.marks_coupled = packets / 10;
            s.overrides_received = 10;
            s.overrides_applied = 9;
            s.overrides_expired = 1;
            change(s);
        })
    };
    Device::Counts {
        module: "1".into(),
        before: base(1000),
        after: base(2000),
        watched_ms: 1000,
    }
}

fn well() -> Facts {
    Facts {
        device: counts(|_| {}),
        daemon: Ok(status(|_| {})),
        system: Some(System {
            loaded: true,
            state: Some("controlled".into()),
            ecn: Some(true),
            limit_bytes: Some(0),
            flow_weights: Some(false),
            offloads: Vec::new(),
        }),
    }
}

#[test]
fn a_healthy_router_passes_every_check() {
    let found = diagnose(&well());
    assert!(found.iter().all(|f| f.level == Level::Ok), "{found:#?}");
    let about: Vec<_> = found.iter().map(|f| f.about).collect();
    assert_eq!(
        about,
        ["module", "traffic", "queue", "ecn", "daemon", "overrides"]
    );
}

#[test]
fn finds_each_fault_and_its_fix() {
    use Level::{Note, Problem};
    type Change = fn(&mut Facts);
    let table: &[(Change, Level, &str, &str, &str)] = &[
        (
            |f| f.device = Device::NoModuleHere,
            Problem,
            "module",
            "requires FreeBSD",
            "doctor --device",
        ),
        (
            |f| {
                f.device = Device::Missing {
                    path: "/dev/l4sllm".into(),
                };
                f.system = Some(System::default());
            },
            Problem,
            "module",
            "not loaded",
            "kldload dualpi2_llm",
        ),
        (
            |f| {
                f.device = Device::Missing {
                    path: "/dev/l4sllm".into(),
                }
            },
            Problem,
            "module",
            "jail",
            "devfs",
        ),
        (
            |f| {
                f.device = Device::Missing { path: "/s".into() };
                f.system = None;
            },
            Problem,
            "module",
            "no emulated device listens on /s",
            "l4sllm device serve /s",
        ),
        (
            |f| {
                f.device = Device::Silent {
                    path: "/dev/l4sllm".into(),
                    reason: "permission denied".into(),
                }
            },
            Problem,
            "module",
            "permission denied",
            "ls -l /dev/l4sllm",
        ),
        (
            |f| {
                f.device = Device::Version {
                    reason: "versions 2 to 3".into(),
                }
            },
            Problem,
            "module",
            "versions 2 to 3",
            "pkg upgrade",
        ),
        (
            |f| f.system.as_mut().unwrap().state = Some("idle".into()),
            Problem,
            "instance",
            "no scheduler",
            "type dualpi2",
        ),
        (
            |f| f.device = counts(|s| s.packets_in = 0),
            Problem,
            "traffic",
            "no packet has arrived",
            "ipfw add queue",
        ),
        (
            |f| f.device = counts(|s| s.packets_in = 5),
            Note,
            "traffic",
            "none within 1000 ms",
            "ipfw show",
        ),
        (
            |f| f.device = counts(|s| s.marks_coupled = 0),
            Problem,
            "queue",
            "bottleneck is elsewhere",
            "bw RATE",
        ),
        (
            |f| {
                f.device = counts(|s| {
                    s.marks_coupled = 0;
                    s.drops_base = 3;
                })
            },
            Problem,
            "ecn",
            "3 packets were dropped and none marked",
            "tcpdump",
        ),
        (
            |f| {
                f.device = counts(|s| {
                    s.marks_coupled = 0;
                    s.drops_base = 3;
                });
                f.system.as_mut().unwrap().ecn = Some(false);
            },
            Problem,
            "ecn",
            "marking is off",
            "dualpi2.ecn=1",
        ),
        (
            |f| {
                f.system.as_mut().unwrap().offloads = vec![Offload {
                    interface: "em0".into(),
                    options: vec!["tso", "lro"],
                }]
            },
            Problem,
            "offload",
            "em0 has tso and lro on",
            "ifconfig em0 -tso -lro",
        ),
        (
            |f| {
                let system = f.system.as_mut().unwrap();
                system.limit_bytes = Some(30_000);
                system.offloads = vec![Offload {
                    interface: "em0".into(),
                    options: vec!["tso"],
                }]
            },
            Problem,
            "queue",
            "limit_bytes is 30000: packets of up to 64 kB, as made by TSO on em0",
            "limit_bytes=0",
        ),
        (
            |f| f.system.as_mut().unwrap().flow_weights = Some(true),
            Note,
            "queue",
            "flow_weights is on: ",
            "flow_weights=0",
        ),
        (
            |f| f.daemon = Err("none answers on /s".into()),
            Problem,
            "daemon",
            "none answers on /s",
            "service l4sllmd start",
        ),
        (
            |f| {
                f.daemon = Err("none answers on /s".into());
                f.system = None;
            },
            Problem,
            "daemon",
            "none answers",
            "l4sllmd -c",
        ),
        (
            |f| f.daemon = Ok(status(|s| s.counters.unrouted = 77)),
            Note,
            "daemon",
            "77 records belong to instances beyond",
            "max_instances",
        ),
        (
            |f| {
                f.daemon = Ok(status(|s| {
                    s.counters.due = 100;
                    s.counters.skipped = 90;
                    s.counters.skipped_behind = 90;
                    s.decision_us.p50 = 5700.0;
                }))
            },
            Problem,
            "daemon",
            "skipped 90 of 100 intervals in favour of newer ones; a decision takes 5.7 ms",
            "net.inet.l4sllm.interval=200",
        ),
        (
            |f| {
                f.daemon = Ok(status(|s| {
                    s.counters.due = 100;
                    s.counters.skipped_behind = 1;
                }))
            },
            Note,
            "daemon",
            "1 of 100 intervals",
            "net.inet.l4sllm.interval=200",
        ),
        (
            |f| {
                f.daemon = Ok(status(|s| {
                    s.engine = EngineStatus::Adaptive {
                        preset: "balanced".into(),
                    };
                    s.period_ms = 100;
                    s.counters.due = 100;
                    s.counters.skipped_behind = 1;
                }))
            },
            Note,
            "daemon",
            "1 of 100 intervals",
            "net.inet.l4sllm.period=200",
        ),
        (
            |f| {
                f.daemon = Ok(status(|s| {
                    s.period_ms = 600;
                }))
            },
            Note,
            "daemon",
            "lasts 1000 ms, and the next decision follows after 600 ms",
            "ttl_ms = 6000",
        ),
        (
            |f| f.daemon = Ok(status(|s| s.remote = Some(RemoteStatus::default()))),
            Problem,
            "server",
            "not connected",
            "the daemon's log",
        ),
        (
            |f| {
                f.daemon = Ok(status(|s| {
                    s.remote = Some(RemoteStatus {
                        connected: true,
                        requests: 100,
                        missed: 51,
                        ..RemoteStatus::default()
                    })
                }))
            },
            Problem,
            "server",
            "51 of 100 requests",
            "deadline_ms",
        ),
        (
            |f| f.daemon = Ok(status(|s| s.deciding_s = 7.2)),
            Problem,
            "daemon",
            "computing one decision for 7 s",
            "restart",
        ),
        (
            |f| f.daemon = Ok(status(|s| s.state = State::Waiting)),
            Problem,
            "daemon",
            "waits for /dev/l4sllm",
            "kldload",
        ),
        (
            |f| f.daemon = Ok(status(|s| s.counters.lost = 500)),
            Note,
            "daemon",
            "too slow and lost 500 of 1500",
            "interval=200",
        ),
        (
            |f| f.daemon = Ok(status(|s| s.counters.decisions = 0)),
            Problem,
            "daemon",
            "10 decisions were due",
            "configtest",
        ),
        (
            |f| f.daemon = Ok(status(|s| s.reloads.last_error = Some("no weights".into()))),
            Note,
            "daemon",
            "no weights",
            "configtest",
        ),
        (
            |f| {
                f.daemon = Ok(status(|s| {
                    s.counters.refused = 4;
                    s.counters.refused_beyond_limits = 3;
                }))
            },
            Note,
            "overrides",
            "3 of 10 refused beyond the device's limits",
            "limits",
        ),
        (
            |f| {
                f.daemon = Ok(status(|s| {
                    s.counters.refused = 4;
                    s.counters.refused_beyond_limits = 3;
                }))
            },
            Note,
            "overrides",
            "1 of 10 refused as invalid",
            "version",
        ),
        (
            |f| f.daemon = Ok(status(|s| s.counters.stale = 2)),
            Note,
            "overrides",
            "2 of 12 refused by the daemon, because they had expired",
            "ttl_ms",
        ),
        (
            |f| f.device = counts(|s| s.refused[Reason::DropShare as usize] = 8),
            Note,
            "overrides",
            "8 packets: the share of drops",
            "drop_share",
        ),
        (
            |f| f.device = counts(|s| s.refused[Reason::MarkShare as usize] = 9),
            Note,
            "overrides",
            "9 packets: the share of marks beyond",
            "mark_share",
        ),
        (
            |f| f.device = counts(|s| s.refused[Reason::Ceiling as usize] = 8),
            Note,
            "overrides",
            "above the ceiling",
            "limits.ceiling",
        ),
        (
            |f| {
                f.device = counts(|s| {
                    s.watchdog_active = 1;
                    s.watchdog_misses = 3;
                })
            },
            Problem,
            "overrides",
            "missed its deadline (3 times)",
            "limits.watchdog",
        ),
        (
            |f| {
                f.device = counts(|s| {
                    s.overrides_applied = 0;
                    s.overrides_expired = 10;
                })
            },
            Problem,
            "overrides",
            "0 of 10 applied, 10 expired",
            "ttl_ms",
        ),
        (
            |f| f.device = counts(|s| s.overrides_received = 0),
            Note,
            "overrides",
            "none has arrived",
            "l4sllm status",
        ),
    ];
    for (change, level, about, text, command) in table {
        let mut facts = well();
        change(&mut facts);
        let found = diagnose(&facts);
        let one = found.iter().find(|f| {
            f.level == *level
                && f.about == *about
                && f.text.contains(text)
                && f.command.as_ref().is_some_and(|c| c.contains(command))
        });
        assert!(one.is_some(), "{about}: {text}: {found:#?}");
    }
}

#[test]
fn every_finding_has_a_command() {
    let mut facts = well();
    facts.device = counts(|s| {
        s.marks_coupled = 0;
        s.refused = [1; Reason::ALL.len()];
    });
    facts.daemon = Err("gone".into());
    let found = diagnose(&facts);
    assert!(found.iter().any(|f| f.level == Level::Problem));
    for finding in found {
        assert_eq!(
            finding.level == Level::Ok,
            finding.command.is_none(),
            "{finding:?}"
        );
    }
}
