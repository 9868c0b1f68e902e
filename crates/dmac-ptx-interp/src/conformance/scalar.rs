//! The frame of element-by-element tests: thread i applies one instruction to `a[i]`, `b[i]`, `c[i]`.

use super::{Case, CaseArg, CaseBuffer, Target, Tolerance, kernel};

/// Threads of a test, which is also its number of elements: no multiple of a warp, so that the last one is ragged.
pub(super) const ELEMENTS: usize = 173;

/// A test of one instruction on scalars. `%a`, `%b`, `%c` are the sources, `%d` the destination.
pub(super) struct Scalar<'a> {
    pub name: &'a str,
    /// PTX statements.
    pub code: &'a str,
    /// Declared types of a, b, c (only as many as the instruction has) and of d.
    pub sources: &'a [&'a str],
    pub result: &'a str,
    pub tolerance: Tolerance,
}

fn bytes_of(ty: &str) -> usize {
    ty.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse::<usize>().expect("a type with a width")
        / 8
}

/// Adds the test with the given source values and `expect` applied to each triple.
pub(super) fn scalar(
    all: &mut Vec<Case>,
    s: &Scalar<'_>,
    values: &[Vec<u64>],
    expect: impl Fn(&[u64]) -> u64,
) {
    let out = bytes_of(s.result);
    let mut body = String::from(
        "    .reg .b32 %i; .reg .b64 %p, %q; .reg .pred %k, %k2; .reg .b32 %t<8>; .reg .b64 %w<4>; .reg .b16 %h<8>;\n",
    );
    body += &format!("    .reg .{} %d;\n    mov.u32 %i, %tid.x;\n", s.result);
    let mut params: Vec<String> = Vec::new();
    let mut buffers = Vec::new();
    for (n, (ty, v)) in s.sources.iter().zip(values).enumerate() {
        let reg = ["%a", "%b", "%c"][n];
        let width = bytes_of(ty);
        body += &format!(
            "    .reg .{ty} {reg};\n    ld.param.u64 %p, [in{n}];\n    mad.wide.u32 %q, %i, {width}, %p;\n    \
             ld.global.{ty} {reg}, [%q];\n"
        );
        params.push(format!(".param .u64 in{n}"));
        let raw = v.iter().take(ELEMENTS).flat_map(|x| x.to_le_bytes()[..width].to_vec()).collect();
        buffers.push(CaseBuffer::input(raw));
    }
    body += &format!("    {}\n", s.code);
    let st = if s.result.starts_with("bf") || s.result == "f16" { "b16" } else { s.result };
    body += &format!(
        "    ld.param.u64 %p, [out];\n    mad.wide.u32 %q, %i, {out}, %p;\n    st.global.{st} [%q], %d;\n"
    );
    params.push(".param .u64 out".to_owned());
    let want = (0..ELEMENTS)
        .flat_map(|i| {
            let args: Vec<u64> = values.iter().map(|v| v[i]).collect();
            expect(&args).to_le_bytes()[..out].to_vec()
        })
        .collect();
    buffers.push(CaseBuffer::output(want, s.tolerance));
    let params: Vec<&str> = params.iter().map(String::as_str).collect();
    all.push(Case {
        name: s.name.to_owned(),
        ptx: kernel(Target::Sm80, false, ELEMENTS as u32, &params, &body),
        target: Target::Sm80,
        grid: 1,
        threads: ELEMENTS as u32,
        cluster: 1,
        smem: 0,
        args: (0..buffers.len()).map(CaseArg::Buffer).collect(),
        buffers,
    });
}
