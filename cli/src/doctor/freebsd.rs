//! Facts available only on FreeBSD, from its own tools.

use super::facts::Offload;

/// Interfaces of `ifconfig -a` that are up and have TSO or LRO on.
pub fn offloads(ifconfig: &str) -> Vec<Offload> {
    let mut found: Vec<Offload> = Vec::new();
    let mut current = None;
    for line in ifconfig.lines() {
        if !line.starts_with(char::is_whitespace) {
            let name = line.split_once(": flags=").map(|(name, _)| name);
            current = name.filter(|name| flags(line).contains(&"UP") && !name.starts_with("lo"));
        } else if line.trim_start().starts_with("options=") {
            let Some(interface) = current else { continue };
            let flags = flags(line);
            let on = |prefix: &str| flags.iter().any(|flag| flag.starts_with(prefix));
            let options: Vec<_> = [("TSO", "tso"), ("LRO", "lro")]
                .into_iter()
                .filter_map(|(flag, option)| on(flag).then_some(option))
                .collect();
            if !options.is_empty() {
                found.push(Offload {
                    interface: interface.into(),
                    options,
                });
            }
        }
    }
    found
}

/// The text between angle brackets.
fn flags(line: &str) -> Vec<&str> {
    let list = line
        .split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'));
    list.map_or(Vec::new(), |(list, _)| list.split(',').collect())
}

#[cfg(target_os = "freebsd")]
pub fn system() -> super::facts::System {
    let output = |program: &str, args: &[&str]| {
        let output = std::process::Command::new(program).args(args).output();
        output
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let sysctl = |name: &str| output("/sbin/sysctl", &["-n", name]);
    super::facts::System {
        loaded: output("/sbin/kldstat", &["-q", "-m", "dualpi2_llm"]).is_some(),
        state: sysctl("net.inet.l4sllm.state"),
        ecn: sysctl("net.inet.ip.dummynet.dualpi2.ecn").map(|value| value != "0"),
        limit_bytes: sysctl("net.inet.ip.dummynet.dualpi2.limit_bytes")
            .and_then(|value| value.parse().ok()),
        flow_weights: sysctl("net.inet.ip.dummynet.dualpi2.flow_weights").map(|value| value != "0"),
        offloads: output("/sbin/ifconfig", &["-a"])
            .map(|text| offloads(&text))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_only_of_interfaces_that_are_up() {
        let text = "\
em0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> metric 0 mtu 1500
\toptions=4e527bb<RXCSUM,TXCSUM,VLAN_MTU,TSO4,TSO6,LRO,VLAN_HWTSO>
\tether 00:00:00:00:00:01
em1: flags=1008802<BROADCAST,SIMPLEX,MULTICAST> metric 0 mtu 1500
\toptions=4e527bb<RXCSUM,TSO4,LRO>
em2: flags=1008843<UP,BROADCAST,RUNNING> metric 0 mtu 1500
\toptions=4e527bb<RXCSUM,TXCSUM,VLAN_HWTSO>
igc0: flags=1008843<UP,BROADCAST,RUNNING> metric 0 mtu 1500
\toptions=800028<VLAN_MTU,LRO>
lo0: flags=1008049<UP,LOOPBACK,RUNNING,MULTICAST> metric 0 mtu 16384
\toptions=680003<RXCSUM,TXCSUM,LRO>
";
        let of = |interface: &str, options: &[&'static str]| Offload {
            interface: interface.into(),
            options: options.into(),
        };
        assert_eq!(
            offloads(text),
            [of("em0", &["tso", "lro"]), of("igc0", &["lro"])]
        );
        assert_eq!(offloads("no such program"), []);
    }
}
