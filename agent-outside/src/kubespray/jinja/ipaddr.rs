//! The filters `ipaddr`, `ipv4`, `ipv6` and `ipwrap`: the queries that Kubespray's trees use.

use std::net::IpAddr;

use super::super::value::Val;
use super::eval::Args;
use super::{Halt, fault};

/// An address, with the length of its network's prefix if one was written.
#[derive(Clone, Copy)]
struct Net {
    bits: u128,
    is_v6: bool,
    prefix: Option<u32>,
}

impl Net {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let (bits, is_v6) = match address.parse().ok()? {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), false),
            IpAddr::V6(v6) => (v6.to_bits(), true),
        };
        let net = Self { bits, is_v6, prefix };
        prefix.is_none_or(|p| p <= net.width()).then_some(net)
    }

    fn width(self) -> u32 {
        if self.is_v6 { 128 } else { 32 }
    }

    fn prefix(self) -> u32 {
        self.prefix.unwrap_or(self.width())
    }

    /// The bits that tell hosts of the network apart.
    fn host_mask(self) -> u128 {
        let host_bits = self.width() - self.prefix();
        u128::MAX.checked_shr(128 - host_bits).unwrap_or(0)
    }

    fn network(self) -> u128 {
        self.bits & !self.host_mask()
    }

    fn show(self, bits: u128) -> String {
        if self.is_v6 {
            std::net::Ipv6Addr::from_bits(bits).to_string()
        } else {
            std::net::Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).to_string()
        }
    }
}

pub(super) fn apply(name: &str, value: &Val, args: &Args) -> Result<Option<Val>, Halt> {
    let over = |test: &dyn Fn(&str) -> Result<Val, Halt>| match value.as_items() {
        Some(items) => {
            let found: Result<Vec<_>, _> = items.iter().map(|item| test(&item.text())).collect();
            Ok(Val::list(found?.into_iter().filter(Val::truth).collect()))
        }
        None => test(&value.text()),
    };
    let query = args.get(0, "query").cloned().unwrap_or_else(|| Val::str(""));
    Ok(Some(match name {
        "ipaddr" => over(&|text| ask(text, &query))?,
        "ipv4" | "ipv6" => over(&|text| match Net::parse(text) {
            Some(net) if net.is_v6 == (name == "ipv6") => ask(text, &query),
            _ => Ok(Val::Bool(false)),
        })?,
        "ipwrap" => over(&|text| Ok(Val::str(&wrapped(text))))?,
        _ => return Ok(None),
    }))
}

/// An IPv6 address in brackets; anything else as it is.
fn wrapped(text: &str) -> String {
    match Net::parse(text) {
        Some(net) if net.is_v6 => match text.split_once('/') {
            Some((address, prefix)) => format!("[{address}]/{prefix}"),
            None => format!("[{text}]"),
        },
        _ => text.to_owned(),
    }
}

fn ask(text: &str, query: &Val) -> Result<Val, Halt> {
    let Some(net) = Net::parse(text) else { return Ok(Val::Bool(false)) };
    let with_prefix = |bits| Val::str(&format!("{}/{}", net.show(bits), net.prefix()));
    if let Some(index) = query.whole() {
        return Ok(nth(net, index).map_or(Val::Bool(false), with_prefix));
    }
    Ok(match query.text().as_str() {
        "" => Val::str(text),
        "net" if net.prefix.is_some() && net.bits == net.network() => with_prefix(net.bits),
        "net" => Val::Bool(false),
        "address" | "ip" => Val::str(&net.show(net.bits)),
        "host" => with_prefix(net.bits),
        "subnet" | "network/prefix" => with_prefix(net.network()),
        "network" => Val::str(&net.show(net.network())),
        "broadcast" => Val::str(&net.show(net.network() | net.host_mask())),
        "prefix" => Val::Int(i64::from(net.prefix())),
        "netmask" => {
            let all = u128::MAX.checked_shr(128 - net.width()).unwrap_or(0);
            Val::str(&net.show(all & !net.host_mask()))
        }
        "version" => Val::Int(if net.is_v6 { 6 } else { 4 }),
        "type" => Val::str(if net.bits == net.network() && net.prefix.is_some() {
            "network"
        } else {
            "address"
        }),
        "ipv4" | "v4" => {
            if net.is_v6 {
                Val::Bool(false)
            } else {
                Val::str(text)
            }
        }
        "ipv6" | "v6" => {
            if net.is_v6 {
                Val::str(text)
            } else {
                Val::Bool(false)
            }
        }
        number if number.parse::<i64>().is_ok() => {
            let index = number.parse().unwrap_or(0);
            nth(net, index).map_or(Val::Bool(false), with_prefix)
        }
        other => return fault(format!("ipaddr('{other}') is not supported")),
    })
}

/// The address at `index` of the network, from its end if negative.
fn nth(net: Net, index: i64) -> Option<u128> {
    let offset = u128::from(index.unsigned_abs());
    let bits = if index < 0 {
        (net.network() | net.host_mask()).checked_add(1)?.checked_sub(offset)?
    } else {
        net.network().checked_add(offset)?
    };
    (bits & !net.host_mask() == net.network()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask_text(text: &str, query: &Val) -> String {
        ask(text, query).unwrap().text()
    }

    #[test]
    fn addresses_of_a_network_are_counted_from_both_ends() {
        assert_eq!(ask_text("10.233.0.0/18", &Val::Int(3)), "10.233.0.3/18");
        assert_eq!(ask_text("10.233.0.0/18", &Val::Int(-1)), "10.233.63.255/18");
        assert_eq!(
            ask_text("fd85:ee78:d8a6:8607::1000/116", &Val::Int(1)),
            "fd85:ee78:d8a6:8607::1001/116"
        );
        assert_eq!(ask_text("10.0.0.0/30", &Val::Int(4)), "False");
    }

    #[test]
    fn a_network_an_address_and_neither_are_told_apart() {
        assert_eq!(ask_text("10.233.0.0/18", &Val::str("net")), "10.233.0.0/18");
        assert_eq!(ask_text("10.233.0.1/18", &Val::str("net")), "False");
        assert_eq!(ask_text("10.233.0.3/18", &Val::str("address")), "10.233.0.3");
        assert_eq!(ask_text("node1", &Val::str("")), "False");
        assert_eq!(ask_text("10.0.0.1/20", &Val::str("netmask")), "255.255.240.0");
        assert_eq!(wrapped("fd00::1"), "[fd00::1]");
        assert_eq!(wrapped("10.0.0.1"), "10.0.0.1");
    }
}
