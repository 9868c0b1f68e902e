//! Where diverged lanes meet again: the immediate post-dominator of every conditional branch.
//!
//! Compilers insert reconvergence there, so the machine parks lanes that arrive early. Basic blocks and the
//! Cooper–Harvey–Kennedy iteration on the reversed control-flow graph.

use crate::op::{Inst, Op};

/// Sets `reconverge` of every guarded branch; it stays `None` where the paths only meet at the kernel's end.
pub(crate) fn find_reconvergence(insts: &mut [Inst]) {
    let n = insts.len();
    if n == 0 {
        return;
    }
    let mut leader = vec![false; n + 1];
    leader[0] = true;
    for (pc, inst) in insts.iter().enumerate() {
        match inst.op {
            Op::Bra { target } => {
                leader[(target as usize).min(n)] = true;
                leader[pc + 1] = true;
            }
            Op::Exit => leader[pc + 1] = true,
            _ => {}
        }
    }
    let starts: Vec<usize> = (0..n).filter(|&pc| leader[pc]).collect();
    let mut block_of = vec![0usize; n];
    for (b, &s) in starts.iter().enumerate() {
        let end = starts.get(b + 1).copied().unwrap_or(n);
        block_of[s..end].fill(b);
    }
    let blocks = starts.len();
    let exit = blocks;
    let node = |pc: usize| if pc < n { block_of[pc] } else { exit };
    let mut successors: Vec<Vec<usize>> = vec![Vec::new(); blocks + 1];
    for (b, next) in successors.iter_mut().enumerate().take(blocks) {
        let last = starts.get(b + 1).copied().unwrap_or(n) - 1;
        let inst = &insts[last];
        match inst.op {
            Op::Bra { target } => {
                next.push(node(target as usize));
                if inst.guard.is_some() {
                    next.push(node(last + 1));
                }
            }
            Op::Exit => {
                next.push(exit);
                if inst.guard.is_some() {
                    next.push(node(last + 1));
                }
            }
            _ => next.push(node(last + 1)),
        }
    }
    let mut predecessors: Vec<Vec<usize>> = vec![Vec::new(); blocks + 1];
    for (b, next) in successors.iter().enumerate() {
        for &s in next {
            predecessors[s].push(b);
        }
    }
    let (order, rank) = postorder(&predecessors, exit);
    let mut ipdom: Vec<Option<usize>> = vec![None; blocks + 1];
    ipdom[exit] = Some(exit);
    let mut changed = true;
    while changed {
        changed = false;
        for &b in order.iter().rev().filter(|&&b| b != exit) {
            let mut best: Option<usize> = None;
            for &s in &successors[b] {
                if ipdom[s].is_none() {
                    continue;
                }
                best = Some(match best {
                    None => s,
                    Some(mut a) => {
                        let mut c = s;
                        while a != c {
                            while rank[a] < rank[c] {
                                a = ipdom[a].unwrap_or(exit);
                            }
                            while rank[c] < rank[a] {
                                c = ipdom[c].unwrap_or(exit);
                            }
                        }
                        a
                    }
                });
            }
            if best.is_some() && ipdom[b] != best {
                ipdom[b] = best;
                changed = true;
            }
        }
    }
    for pc in 0..n {
        if insts[pc].guard.is_some() && matches!(insts[pc].op, Op::Bra { .. }) {
            insts[pc].reconverge = match ipdom[block_of[pc]] {
                Some(d) if d != exit => Some(starts[d] as u32),
                _ => None,
            };
        }
    }
}

/// Depth-first postorder of `edges` from `root`, and each node's position in it (0 when unreached).
fn postorder(edges: &[Vec<usize>], root: usize) -> (Vec<usize>, Vec<usize>) {
    let mut order = Vec::new();
    let mut rank = vec![0; edges.len()];
    let mut seen = vec![false; edges.len()];
    let mut stack = vec![(root, 0usize)];
    seen[root] = true;
    while let Some((b, i)) = stack.pop() {
        if let Some(&next) = edges[b].get(i) {
            stack.push((b, i + 1));
            if !seen[next] {
                seen[next] = true;
                stack.push((next, 0));
            }
        } else {
            rank[b] = order.len();
            order.push(b);
        }
    }
    (order, rank)
}
