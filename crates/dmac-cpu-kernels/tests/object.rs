//! The embedded object: its symbols, what it asks of a linker, and a C program that uses it.
#![allow(clippy::print_stderr, reason = "a skipped check says why it was skipped")]

use std::collections::BTreeSet;
use std::process::Command;

use dmac_cpu_kernels::{KernelTable, OBJECT, SIGNATURES, available, detect};
use object::{Object, ObjectSymbol};

#[test]
fn the_object_has_every_symbol_and_needs_nothing() {
    let file = object::File::parse(OBJECT).expect("an object file of this platform");
    // Mach-O puts an underscore before every C name.
    let plain = |name: &str| name.strip_prefix("_dmac").map_or(name.to_owned(), |rest| format!("dmac{rest}"));
    let defined: BTreeSet<String> = file
        .symbols()
        .filter(|symbol| symbol.is_global() && !symbol.is_undefined())
        .map(|symbol| plain(symbol.name().expect("a readable name")))
        .collect();
    assert!(defined.contains("dmac_rt_detect"));
    for table in available() {
        for signature in SIGNATURES {
            let symbol = table.symbol(signature.kernel).to_string();
            assert!(defined.contains(&symbol), "{symbol} is missing");
        }
    }
    let strangers: Vec<&String> = defined.iter().filter(|name| !name.starts_with("dmac_rt_")).collect();
    assert!(strangers.is_empty(), "exported beside the interface: {strangers:?}");
    let needed: Vec<String> = file
        .symbols()
        .filter(ObjectSymbol::is_undefined)
        .map(|symbol| symbol.name().expect("a readable name").trim_start_matches('_').to_owned())
        .filter(|name| !name.is_empty() && name != "GLOBAL_OFFSET_TABLE_")
        .filter(|name| !["memcpy", "memmove", "memset", "memcmp"].contains(&name.as_str()))
        .collect();
    assert!(needed.is_empty(), "undefined symbols: {needed:?}");
}

/// A C program that multiplies two matrices with every table that it is told of.
const PROGRAM: &str = r#"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
int32_t dmac_rt_detect(void);
#define GEMM(isa) void dmac_rt_##isa##_gemm(size_t, size_t, size_t, const float *, size_t, size_t, const float *, \
    size_t, size_t, float *, size_t, int32_t)
#define TRY(isa, panel) do { float c[2] = {9, 9}; \
    dmac_rt_##isa##_gemm(1, 2, 3, a, 3, 1, b, 2, panel, c, 2, 0); \
    printf("%s %g %g\n", #isa, c[0], c[1]); } while (0)
"#;

#[test]
fn a_c_program_links_it() {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    if Command::new(&compiler).arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "no C compiler ({compiler}) under CI");
        eprintln!("skipped: no C compiler ({compiler})");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let each = |line: fn(&KernelTable) -> String| available().map(line).collect::<String>();
    let mut program = PROGRAM.to_owned();
    program += &each(|table| format!("GEMM({});\n", table.name()));
    program += "int main(void) {\n    const float a[3] = {1, 2, 3}, b[6] = {1, 10, 2, 20, 3, 30};\n";
    program += "    printf(\"detect %d\\n\", (int)dmac_rt_detect());\n";
    program += &each(|table| format!("    TRY({}, {});\n", table.name(), table.panel));
    program += "    return 0;\n}\n";
    std::fs::write(at("main.c"), program).expect("a writable folder");
    std::fs::write(at("dmac_rt.o"), OBJECT).expect("a writable folder");
    let status = Command::new(&compiler)
        .args(["-Wall", "-Werror", "-o"])
        .args([at("main"), at("main.c"), at("dmac_rt.o")])
        .status()
        .expect("the compiler just answered");
    assert!(status.success(), "the C program does not link: {status}");
    let output = Command::new(at("main")).output().expect("the program that was just built");
    let want = each(|table| format!("{} 14 140\n", table.name()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("detect {}\n{want}", detect().isa as i32));
}
