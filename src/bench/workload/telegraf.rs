//! What a fleet of Telegraf agents sends: the cpu, mem, disk and net inputs, with the fields of every line in random
//! order, as Go's maps give them.
//!
//! The tables carry the prefix `telegraf_` (Telegraf's `name_prefix`), since the TSBS workload's `cpu` has integers
//! where Telegraf has floats.

use std::io::{self, Write};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::series::{Lines, Share, Stamp};

const HOSTS: usize = 200;

/// A field's name, and whether it is a percentage (a float) or a count (an integer).
type Field = (&'static str, bool);

/// One agent's lines of one tick: the head before the host's name, the tags after it, and the fields.
const TEMPLATES: [(&str, &str, &[Field]); 10] = [
    ("telegraf_cpu,cpu=cpu0,host=", "", CPU),
    ("telegraf_cpu,cpu=cpu1,host=", "", CPU),
    ("telegraf_cpu,cpu=cpu2,host=", "", CPU),
    ("telegraf_cpu,cpu=cpu3,host=", "", CPU),
    ("telegraf_cpu,cpu=cpu-total,host=", "", CPU),
    ("telegraf_mem,host=", "", MEM),
    ("telegraf_disk,device=nvme0n1p1,fstype=ext4,host=", ",mode=rw,path=/", DISK),
    ("telegraf_disk,device=nvme0n1p15,fstype=vfat,host=", ",mode=rw,path=/boot/efi", DISK),
    ("telegraf_net,host=", ",interface=eth0", NET),
    ("telegraf_net,host=", ",interface=lo", NET),
];

const CPU: &[Field] = &[
    ("usage_user", true),
    ("usage_system", true),
    ("usage_idle", true),
    ("usage_nice", true),
    ("usage_iowait", true),
    ("usage_irq", true),
    ("usage_softirq", true),
    ("usage_steal", true),
    ("usage_guest", true),
    ("usage_guest_nice", true),
];

const MEM: &[Field] = &[
    ("active", false),
    ("available", false),
    ("available_percent", true),
    ("buffered", false),
    ("cached", false),
    ("commit_limit", false),
    ("committed_as", false),
    ("dirty", false),
    ("free", false),
    ("high_free", false),
    ("high_total", false),
    ("huge_page_size", false),
    ("huge_pages_free", false),
    ("huge_pages_total", false),
    ("inactive", false),
    ("low_free", false),
    ("low_total", false),
    ("mapped", false),
    ("page_tables", false),
    ("shared", false),
    ("slab", false),
    ("sreclaimable", false),
    ("sunreclaim", false),
    ("swap_cached", false),
    ("swap_free", false),
    ("swap_total", false),
    ("total", false),
    ("used", false),
    ("used_percent", true),
    ("vmalloc_chunk", false),
    ("vmalloc_total", false),
    ("vmalloc_used", false),
    ("write_back", false),
    ("write_back_tmp", false),
];

const DISK: &[Field] = &[
    ("total", false),
    ("free", false),
    ("used", false),
    ("used_percent", true),
    ("inodes_total", false),
    ("inodes_free", false),
    ("inodes_used", false),
    ("inodes_used_percent", true),
];

const NET: &[Field] = &[
    ("bytes_sent", false),
    ("bytes_recv", false),
    ("packets_sent", false),
    ("packets_recv", false),
    ("err_in", false),
    ("err_out", false),
    ("drop_in", false),
    ("drop_out", false),
    ("speed", false),
];

/// One connection's agents.
#[derive(Debug)]
pub(crate) struct Telegraf {
    hosts: Vec<usize>,
    /// The host, and the template of it, whose turn it is.
    next: (usize, usize),
    ticks: u64,
    stamp: Stamp,
    rng: StdRng,
    /// The fields of one line, shuffled.
    order: Vec<Field>,
}

impl Telegraf {
    pub(crate) fn new(share: Share) -> Telegraf {
        // With more connections than hosts, each connection is a host of its own.
        let hosts = HOSTS.max(usize::from(share.connections));
        Telegraf {
            hosts: share.series(hosts).collect(),
            next: (0, 0),
            ticks: 0,
            stamp: Stamp::new(share.start_nanos),
            rng: share.rng(),
            order: Vec::new(),
        }
    }

    /// A percentage with all of a float's digits, or a count that grows with time.
    fn value(&mut self, (name, percent): Field, out: &mut Vec<u8>) -> io::Result<()> {
        if percent {
            return write!(out, "{name}={}", self.rng.random_range(0.0..100.0));
        }
        let grown = (self.ticks + 1) * 1_000 * name.len() as u64;
        write!(out, "{name}={}i", grown + self.rng.random_range(0..1_000))
    }
}

impl Lines for Telegraf {
    fn next_line(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let (host, template) = self.next;
        let (head, tail, fields) = TEMPLATES[template];
        write!(out, "{head}agent-{:03}{tail} ", self.hosts[host])?;
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend_from_slice(fields);
        order.shuffle(&mut self.rng);
        for (index, field) in order.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.value(*field, out)?;
        }
        self.order = order;
        out.extend_from_slice(self.stamp.text());
        self.next = match (host, template) {
            (host, template) if template + 1 < TEMPLATES.len() => (host, template + 1),
            (host, _) if host + 1 < self.hosts.len() => (host + 1, 0),
            _ => {
                self.ticks += 1;
                self.stamp.advance();
                (0, 0)
            }
        };
        Ok(true)
    }
}
