//! Does the sanitizer notice? Every synchronisation instruction of three kernels is removed or weakened, one at a
//! time, and each broken kernel must give a finding or a wrong result in one of a few schedules.

use crate::attention::Problem;
use crate::launches::{backward_sm90, forward_sm90, seeded};
use dmac_ptx::samples::{self, Forward, Source};
use dmac_ptx_interp::{Module, Options, parse};
use rayon::prelude::*;
use std::fmt::Write;

/// Schedules that a mutant may hide from before it counts as missed.
const SEEDS: u64 = 4;

struct Mutant {
    /// What was done to which instruction.
    name: String,
    text: String,
}

/// Splits `@%p op args;` into guard and the rest.
fn guard(line: &str) -> (&str, &str) {
    match line.strip_prefix('@').and_then(|r| r.split_once(' ')) {
        Some((p, rest)) => (&line[..=p.len()], rest),
        None => ("", line),
    }
}

/// Weaker forms of one instruction: (what was done, new line). An empty line removes it.
fn weaken(line: &str) -> Vec<(&'static str, String)> {
    let (guard, op) = guard(line);
    let mut out: Vec<(&'static str, String)> = Vec::new();
    let number = |prefix: &str| {
        op.strip_prefix(prefix).and_then(|r| r.trim_end_matches(';').trim().parse::<u32>().ok())
    };
    let last =
        || op.trim_end_matches(';').rsplit_once(' ').and_then(|(a, b)| Some((a, b.parse::<u32>().ok()?)));
    let removed = ("removed", String::new());
    if op.starts_with("mbarrier.try_wait") {
        let p = op.split_whitespace().nth(1).unwrap_or("").trim_end_matches(',');
        out.push(("does not wait", format!("setp.eq.u32 {p}, 0, 0;")));
        if let Some((a, 0)) = last() {
            out.push(("waits for the other parity", format!("{a} 1;")));
        }
    } else if op.starts_with("mbarrier.arrive.expect_tx") {
        out.push(removed);
        if let Some((a, n)) = last() {
            out.push(("expects half the bytes", format!("{guard} {a} {};", n / 2)));
            out.push(("expects more bytes", format!("{guard} {a} {};", n + 16)));
        }
    } else if op.starts_with("mbarrier.init") {
        if let Some((a, n)) = last() {
            if n > 1 {
                out.push(("counts one less", format!("{guard} {a} {};", n - 1)));
            }
            out.push(("counts one more", format!("{guard} {a} {};", n + 1)));
        }
    } else if op.starts_with("fence.proxy.async") {
        out.push(removed);
        out.push(("covers global memory only", "fence.proxy.async.global;".to_owned()));
    } else if let Some(n) = number("wgmma.wait_group.sync.aligned ") {
        out.push(removed);
        out.push(("waits for one group less", format!("wgmma.wait_group.sync.aligned {};", n + 1)));
    } else if let Some(n) = number("cp.async.wait_group ") {
        out.push(removed);
        out.push(("waits for one group less", format!("cp.async.wait_group {};", n + 1)));
    } else if let Some(n) = number("cp.async.bulk.wait_group.read ") {
        out.push(removed);
        out.push(("waits for one group less", format!("cp.async.bulk.wait_group.read {};", n + 1)));
    } else if op.starts_with("bar.sync") {
        out.push(removed);
        if op.contains(',') {
            out.push(("only arrives", op.replacen("bar.sync", "bar.arrive", 1)));
        }
    } else if op.starts_with("elect.sync") {
        let p = op.split(['|', ',']).nth(1).unwrap_or("");
        out.push(("elects every lane", format!("setp.eq.u32 {p}, 0, 0;")));
    } else if op.starts_with("cp.async.bulk.wait_group ")
        || op.starts_with("cp.async.wait_all")
        || op.starts_with("cp.async.mbarrier.arrive")
        || op.starts_with("cp.async.commit_group")
        || op.starts_with("cp.async.bulk.commit_group")
        || op.starts_with("mbarrier.arrive")
        || op.starts_with("fence.")
        || op.starts_with("wgmma.fence")
        || op.starts_with("wgmma.commit_group")
        || op.starts_with("bar.")
        || op.starts_with("setmaxnreg.dec")
    {
        out.push(removed);
    }
    out
}

fn mutants(text: &str) -> Vec<Mutant> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = Vec::new();
    let mut label = "";
    for (i, line) in lines.iter().enumerate() {
        if line.ends_with(':') && !line.contains("wait") {
            label = line.trim_end_matches(':');
        }
        for (what, new) in weaken(line.trim()) {
            let mut copy = lines.clone();
            copy[i] = &new;
            out.push(Mutant {
                name: format!("{what}: {} after {label}", line.trim()),
                text: copy.join("\n"),
            });
        }
    }
    out
}

/// Runs the mutants; gives the report of the missed ones and (all, caught, missed without a reason).
fn hunt(
    title: &str,
    text: &str,
    harmless: &[(&str, &str)],
    run: &(dyn Fn(&Module, &Options) -> Result<bool, String> + Sync),
    report: &mut String,
) -> (usize, usize, usize) {
    let options = |seed| Options { max_findings: 1, max_steps: 400_000, ..seeded(seed) };
    let module = parse(text).expect("the kernel parses");
    for seed in 0..2 {
        assert_eq!(run(&module, &options(seed)), Ok(true), "{title}: the whole kernel is right");
    }
    let all = mutants(text);
    let hidden: Vec<bool> = all
        .par_iter()
        .map(|m| {
            let module = parse(&m.text).unwrap_or_else(|e| panic!("{}: {e}", m.name));
            (0..SEEDS).all(|seed| run(&module, &options(seed)) == Ok(true))
        })
        .collect();
    let caught = hidden.iter().filter(|h| !**h).count();
    let mut unexplained = 0;
    let mut missed: Vec<(String, usize)> = Vec::new();
    for (m, _) in all.iter().zip(&hidden).filter(|x| *x.1) {
        match missed.iter_mut().find(|x| x.0 == m.name) {
            Some(x) => x.1 += 1,
            None => missed.push((m.name.clone(), 1)),
        }
    }
    let mut lines = String::new();
    for (name, n) in &missed {
        let why = harmless.iter().find(|(pattern, _)| name.contains(pattern)).map(|x| x.1);
        if why.is_none() {
            unexplained += n;
        }
        let _ = writeln!(lines, "  {n} × {name}\n      {}", why.unwrap_or("MISSED"));
    }
    let _ = writeln!(report, "{title}: {} mutants, {caught} caught\n{lines}", all.len());
    (all.len(), caught, unexplained)
}

#[test]
fn broken_synchronisation_is_noticed() {
    let mut report = String::new();
    let mut total = (0, 0, 0);
    let mut add = |x: (usize, usize, usize)| total = (total.0 + x.0, total.1 + x.1, total.2 + x.2);

    // Causal with more queries than keys: skipped, partial, full blocks, and tiles without any key.
    let forwards =
        [("dense forward", Source::Blocks, (652, 512)), ("gathered forward", Source::Rows, (300, 560))];
    for (title, source, shape) in forwards {
        let causal = source == Source::Blocks;
        let sample = samples::forward_sm90(Forward { head_dim: 128, causal, source });
        let mut p = Problem::new(128, shape, (1, 1), causal);
        if source == Source::Rows {
            p = p.with_lists(128);
        }
        let want = p.forward();
        let smem = sample.kernel.shared_bytes();
        let run = |m: &Module, o: &Options| {
            let (run, result) = forward_sm90(m, &p, smem, o);
            result.map_err(|f| f[0].to_string())?;
            let e = run.errors_against(&want);
            Ok(e.out < 3e-3 && e.lse < 1e-5)
        };
        add(hunt(title, &sample.kernel.text(), FORWARD, &run, &mut report));
    }

    let sample = samples::backward_sm90(64, false);
    let p = Problem::new(64, (600, 128), (1, 1), false);
    let (forward, want) = (p.forward(), p.backward());
    let smem = sample.kernel.shared_bytes();
    let run = |m: &Module, o: &Options| {
        let (run, result) = backward_sm90(m, &p, (&forward, &want), smem, o);
        result.map_err(|f| f[0].to_string())?;
        Ok(run.errors_against(&p, &want).iter().all(|e| *e < 4e-3))
    };
    add(hunt("backward", &sample.kernel.text(), BACKWARD, &run, &mut report));

    let (all, caught, unexplained) = total;
    let _ =
        write!(report, "all: {all} mutants, {caught} caught, {unexplained} missed and not provably harmless");
    insta::assert_snapshot!(report);
    assert!(unexplained * 20 <= caught + unexplained, "{report}");
}

/// Mutants that change nothing, and why: (part of the name, reason).
const FORWARD: &[(&str, &str)] = &[
    (
        "does not wait: mbarrier.try_wait.parity.shared::cta.b64 %done0, [%empty0",
        "harmless: before it the producer waited for the stage of V that is released after this stage of K",
    ),
    ("bar.sync %own_turn0", "harmless: the consumers' turns order their work for speed only"),
    ("bar.arrive 1, 256", "harmless: the consumers' turns order their work for speed only"),
    ("mbarrier.arrive.shared::cta.b64 _, [%empty7+163896]; after $endif3", LAST),
    ("mbarrier.arrive.shared::cta.b64 _, [%empty9+163896]; after $endif", LAST),
    ("wgmma.wait_group.sync.aligned 0; after $masked_loop0", ONCE),
    ("mbarrier.arrive.shared::cta.b64 _, [%empty5+163896]; after $masked_loop0", ONCE),
    ("elects every lane: elect.sync _|%one", "harmless: every lane stores the same bytes"),
];

const BACKWARD: &[(&str, &str)] = &[
    ("counts one less: mbarrier.init.shared::cta.b64 [%base0+1987", DOUT),
    ("does not wait: mbarrier.try_wait.parity.shared::cta.b64 %done1, [%empty1+198712], %load_parity0", DOUT),
    (
        "removed: wgmma.commit_group",
        "harmless: dV's products join dQ's group; they only matter to the release of dO's stage",
    ),
    ("wgmma.wait_group.sync.aligned 1", DOUT),
    (
        "removed: bar.warp.sync -1",
        "harmless: every lane arrives at the named barrier itself, after its own wait",
    ),
    ("elects every lane: elect.sync _|%one3", "harmless: every lane stores the same bytes"),
];

const LAST: &str = "harmless: the last release, for which nobody waits";

/// Why nothing is in flight at the top of the loop over masked blocks.
const ONCE: &str = "harmless: 128 rows on a diagonal cross two blocks of 128 keys, of which the first stands before the \
                    loop; so the loop runs at most once, and its first pass has no product to wait for";

/// Why the release of dO's stage is not needed.
const DOUT: &str =
    "harmless: the producer waits for Q's stage first, which is released after dO's in the same turn";
