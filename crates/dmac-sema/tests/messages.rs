//! Mistakes beyond those of the pages: each gives its code and no other, with words that lead on.

use dmac_sema::{SemaOptions, Value, analyze};
use dmac_source::{Format, Renderer, SourceFile};

fn analyzed(text: &str, options: &SemaOptions) -> (String, Vec<&'static str>) {
    let file = SourceFile::new("test", text);
    let (module, diagnostics) = dmac_syntax::parse(&file);
    assert!(diagnostics.is_empty(), "{text}: {diagnostics:?}");
    let (_, found) = analyze(&module, options);
    let codes = found.iter().map(|diagnostic| diagnostic.code.as_str()).collect();
    (Renderer::new(Format::Human).render_all(&file, &found), codes)
}

/// Checks that a text gives exactly these codes, in this order, and mentions these words.
#[track_caller]
fn check(text: &str, codes: &[&str], words: &[&str]) {
    let (rendered, found) = analyzed(text, &SemaOptions { head_dim: Some(64), ..SemaOptions::default() });
    assert_eq!(found, codes, "{text}\n{rendered}");
    for word in words {
        assert!(rendered.contains(word), "`{word}` is not in\n{rendered}");
    }
}

/// The same for the statements of an attention with a parameter, inputs and axes, which must have an error: then what is
/// not used of them is not told.
#[track_caller]
fn body(statements: &str, codes: &[&str], words: &[&str]) {
    let head = "attention a(n: int = 4) { input x[b, g, j]: f32 input y[h, t]: f32 axis c = windows(j, 32, 16) \
                axis s = blocks(j, 64)";
    check(&format!("{head} {statements} }}"), codes, words);
}

#[test]
fn names() {
    body("mask exp < i", &["E0201"], &["call it: `exp(...)`"]);
    body("mask nothing < i", &["E0201"], &["not declared"]);
    body("branch p(keys xx) { } output p", &["E0201"], &["did you mean"]);
    body("branch p { } output p emit pp.lse", &["E0201"], &["no branch"]);
    check("attention a { let k[b, j] = 1.0 mask j <= i }", &["E0202"], &["every program", "the tensor `k`"]);
    check("attention a { axis d = 4 mask j <= i }", &["E0202"], &["the index of axis D"]);
    check("attention a(N: int = 4) { mask j <= i }", &["E0202"], &["the size of the axis of `j`"]);
    check("attention a { input scale[h]: f32 mask j <= i }", &["E0202"], &["the scale"]);
    check("attention a { } attention a { }", &["E0202"], &["the attention `a`"]);
    check("fn f(u) = u fn f(u) = u attention a { score = f(score) }", &["E0202"], &["the function `f`"]);
    check("fn exp(u) = u attention a { score = exp(score) }", &["E0202"], &["builtin"]);
    check("fn f(u, u) = u attention a { score = f(score, 1.0) }", &["E0202"], &["the argument `u`"]);
    body("score = sum(score)", &["E0203"], &["`sum(j: ...)`"]);
    body("score = x(b, g, j)", &["E0203"], &["brackets: `x[...]`"]);
    body("score = logistic(score)", &["E0203"], &["define it: `fn logistic(x) = ...`"]);
    body("score = relu6(score)", &["E0203"], &["did you mean `relu`?"]);
    check("attention a { axis p = j mask j <= i }", &["E0204"], &["a size is made of numbers"]);
    body("scale = x[b, g, j]", &["E0204"], &["bound here: `b`, `h`, `g`, `i`"]);
    body("select top(n) of x[b, g, s]", &["E0204"], &["`select top(...) s of ...`"]);
    body("select top(j) of x[b, g, j]", &["E0204"], &["not bound"]);
    body("branch p { mask c <= i } output p", &["E0204"], &["bound here: `b`, `h`, `g`, `i`, `j`"]);
    body("output x[b, g, j] * out", &["E0204"], &["bound here: `b`, `h`, `i`, `e`"]);
    body("mask any(j: j <= i)", &["E0205"], &["`j'`"]);
    body("let z[b, b] = 1.0", &["E0205"], &["stands here twice"]);
    check(
        "attention a { axis m = blocks(l, 2) axis l = blocks(m, 2) mask j <= i }",
        &["E0206"],
        &["made of itself"],
    );
    body(
        "let kk[b, g, j, d] = p[b, 0, i, 0] branch p(keys kk) { } output p",
        &["E0204", "E0206"],
        &["`kk` needs `p`", "`p` needs `kk`"],
    );
    check(
        "fn f(u) = g(u) fn g(u) = f(u) attention a { score = f(score) }",
        &["E0207"],
        &["by way of this one"],
    );
    check("fn f(u) = u attention a { score = f(score, 1) }", &["E0208"], &["write `f(u)`"]);
    body("score = score[0]", &["E0209"], &["found the current score"]);
    body("score = sum(n: score)", &["E0209"], &["expected an index, found a parameter"]);
    body("score = n.lse", &["E0209"], &["only branches have fields"]);
    body("branch p(keys n) { } output p", &["E0209"], &["inputs or `let`s"]);
    body("branch p { } output p.prob[b, h, i, 0] * p.lses", &["E0210", "E0403"], &["did you mean `lse`?"]);
}

#[test]
fn parameters_and_functions() {
    check("attention a(n: int) { mask i - j < n }", &["E0212"], &["`-D n=...`"]);
    check("attention a(n: int = 3000000000) { mask i - j < n }", &["E0212"], &["does not fit 32 bits"]);
    check("attention a(n: int = M) { mask i - j < n }", &["E0212"], &["a default is a number"]);
    check("attention a(n: int = 4 div 0) { mask i - j < n }", &["E0212"], &["not a constant"]);
    let pinned = |value| SemaOptions { defines: [("n".to_owned(), value)].into(), ..SemaOptions::default() };
    let text = "attention a(n: int = 4) { mask i - j < n }";
    assert_eq!(analyzed(text, &pinned(Value::Float(0.5))).1, ["E0212"]);
    assert!(analyzed(text, &pinned(Value::Int(8))).1.is_empty());
    check("fn f(u) = u[0] attention a { score = f(score) }", &["E0213"], &["a tensor in a function"]);
    check("fn f(u) = sum(d: u) attention a { score = f(score) }", &["E0213"], &["a reduction in a function"]);
    check("fn f(slope) = slop attention a { score = f(score) }", &["E0213"], &["did you mean `slope`?"]);
    // What is wrong inside of a function is said once, however often it is called.
    check("fn f(u) = u + true attention a { score = f(score) + f(1.0) }", &["E0301"], &[]);
    check("fn f(u) = not u attention a { mask f(i) }", &["E0301"], &[]);
    body("normalize sigmoid with 1.0", &["E0214"], &["takes no argument"]);
    body("emit out", &["E0215"], &["`lse` or `row_max`"]);
    body("branch p { } output p emit p.prob", &["E0215"], &["`lse` or `row_max`"]);
    body("scale = scale * 2.0", &["E0216"], &["`scale`"]);
    check(
        "attention a { input u[h, i]: f32 let z[h, i] = u[h, i] * i score = z[h, i] }",
        &["E0217"],
        &["bind `b`"],
    );
    let functions: Vec<String> = (1..300).map(|at| format!("fn f{at}(x) = exp(f{}(x))", at - 1)).collect();
    let deep = format!("fn f0(x) = x {} attention a {{ score = f299(score) }}", functions.join(" "));
    check(&deep, &["E0218"], &["levels deep"]);
}

#[test]
fn types() {
    body("score = score + (j < i)", &["E0301"], &["`if ... then 1 else 0`"]);
    body("mask x[b, g, 0.5] > 0.0", &["E0301"], &["an index is an int"]);
    body("mask not i", &["E0301"], &["`not` works on bools"]);
    body("mask i and j < i", &["E0301"], &["`and` works on bools"]);
    body("mask if i then true else false", &["E0301"], &["the condition of an `if`"]);
    body("score = if j < i then score else true", &["E0301"], &["differ in type"]);
    body("mask any(t: y[h, t])", &["E0301"], &["`any` works on bools"]);
    body("score = mean(t: y[h, t] > 0.0)", &["E0301"], &["`mean` works on numbers"]);
    body("score = exp(true)", &["E0301"], &["`exp` works on numbers"]);
    body("score = cast(score, real)", &["E0301"], &["expected `int` or `float`"]);
    body("mask (x[b, g, j] > 0.0) < 1", &["E0301"], &["`<` works on numbers"]);
    body("select top(n) of x[b, g, j] among i - j", &["E0301"], &["`among` is true or false"]);
    body("mask i - j", &["E0302"], &["compare it with something"]);
    body("scale = true", &["E0316"], &["`scale` is a float"]);
    body("output 1 < 2", &["E0316"], &["an output is a float"]);
    body("select top(n) of j < i", &["E0316"], &["what a selection compares"]);
    body("normalize softmax with true", &["E0316"], &["the score of a sink"]);
    body(
        "let kk[b, g, j, d] = true branch p(keys kk) { } output p",
        &["E0316"],
        &["queries, keys or values"],
    );
    body("mask i mod 0 == j", &["E0315"], &["division by zero"]);
    // Nothing follows from what is wrong already.
    body("mask i + true + true * 2 < 1 and not (true + 1)", &["E0301", "E0301", "E0301"], &[]);
}

#[test]
fn axes_and_sizes() {
    body("score = y[g, 0]", &["E0303"], &["`g` is used for the axis of `h`"]);
    body("score = q[b, h, i, h]", &["E0303"], &["`h` is used for the axis of `d`"]);
    body("score = sum(s: q[s, h, i, 0])", &["E0303"], &["axis of `b`"]);
    check(
        "attention a { axis s = blocks(j, 4) let z[b, s] = 1.0 score = z[b, j] }",
        &["E0303"],
        &["the block of a position: `j div LENGTH`"],
    );
    check("attention a { let kk[b, g, j, d] = v[b, g, j, d] branch p(keys kk) { } output p }", &[], &[]);
    let options = SemaOptions { head_dim: Some(128), value_dim: Some(64), ..SemaOptions::default() };
    let text = "attention a { let z[b, g, j] = sum(d: v[b, g, j, d]) score = z[b, g, j] }";
    let (rendered, codes) = analyzed(text, &options);
    assert_eq!(codes, ["E0303"]);
    assert!(rendered.contains("`d` has 128 elements, `e` has 64"), "{rendered}");
    body("score = out", &["E0305"], &["write `out[b, h, i, e]`"]);
    body("score = q[b, h, i]", &["E0305"], &["has 4 axes, but 3 indices"]);
    body("score = q[b, h, i - 1, 0]", &["E0306"], &["plain `i`"]);
    body(
        "let z[b, h, d] = sum(i: q[b, h, i, d]) score = z[b, h, 0]",
        &["E0306"],
        &["queries cannot be reduced"],
    );
    check("attention a { axis p = 0.5 mask j <= i }", &["E0307"], &["expected int, found float"]);
    check(
        "attention a { input u: i32 axis p = u mask j <= i }",
        &["E0307"],
        &["not known before the kernel runs"],
    );
    check("attention a { axis p = 2 * P score = sum(p: score) }", &["E0206"], &["made of itself"]);
    check("attention a { axis p = z let z = 1 mask j <= i }", &["E0307"], &["`z` is not known before"]);
    check(
        "attention a { input u[j]: i32 in 0 .. out.lse[0] mask j <= i }",
        &["E0307"],
        &["`out.lse` is not known"],
    );
    check("attention a { axis p = blocks(j, H) mask j <= i }", &["E0308"], &["known at run time only"]);
    body("select top(-1) of x[b, g, j]", &["E0309"], &["cannot be negative"]);
    check("attention a { axis p = windows(j, 4, 0) mask j <= i }", &["E0309"], &["the distance of windows"]);
    check("attention a { axis p = blocks(i, 4) mask j <= i }", &["E0310"], &["cannot be divided"]);
    check(
        "attention a { axis u = 8 axis p = blocks(j, 4) axis r = blocks(u, 4) score = sum(p, r: overlap(p, r)) }",
        &["E0310"],
        &["divide different axes"],
    );
    body(
        "let z[b, h] = sum(h' in g: y[h', 0]) score = z[b, h]",
        &["E0311"],
        &["bound here by a query head only"],
    );
    body("branch p(queries x) { } output p", &["E0312"], &["[b, h, i, d]", "[b, g, j]"]);
    body("score = y[h, -1]", &["E0317"], &["indices start at 0"]);
    body("score = q[b, h, i, 64]", &["E0317"], &["64 elements"]);
}

#[test]
fn statements() {
    body("mask j <= i select top(n) of x[b, g, j] mask i - j < 4", &["E0401"], &["among"]);
    body(
        "branch p { select top(n) t of y[h, t] } output p",
        &["E0402"],
        &["a row of this attention has keys `j`"],
    );
    check(
        "attention a { input kk[b, g, u, d]: real input vv[b, g, u, e]: real axis s = blocks(j, 4) \
         branch p(keys kk, values vv over u) { select top(2) s of s * 1.0 } output p }",
        &["E0402"],
        &["a row of this attention has keys `u`"],
    );
    let compressed = "let kc[b, g, c, d] = mean(j in c: k[b, g, j, d]) let vc[b, g, c, e] = mean(j in c: v[b, g, j, e]) \
                      branch p(keys kc, values vc over c) { }";
    let with = |rest: &str| {
        format!(
            "attention a {{ axis c = windows(j, 32, 16) axis s = blocks(j, 64) {compressed} {rest} output p + r }}"
        )
    };
    let direct = "branch r { score = score + p.prob[b, h, i, 0] }";
    check(&with(direct), &["E0403"], &["`p.prob` may be read only in the operand"]);
    let through = "let z[b, g, i] = sum(h in g: p.prob[b, h, i, 0]) branch r { mask z[b, g, i] > 0.5 }";
    check(&with(through), &["E0403"], &["`z` is made of probabilities"]);
    let keys = "let z[b, g, j, d] = p.prob[b, 0, i, 0] branch r(keys z) { }";
    check(&with(keys), &["E0204", "E0403"], &["`z` is made of probabilities"]);
    let forcing = "let z[b, g, i, s] = sum(h in g, c: p.prob[b, h, i, c]) \
                   branch r { select top(2) s of z[b, g, i, s] forcing z[b, g, i, s] > 0.5 }";
    check(&with(forcing), &["E0403"], &["`z`"]);
    for statement in ["score = 1.0", "scale = 1.0", "normalize sigmoid", "select top(1) of j * 1.0"] {
        check(
            &format!("attention a {{ {statement} branch p {{ }} output p }}"),
            &["E0404"],
            &["next to branches"],
        );
    }
    body("normalize softmax normalize softmax", &["E0405"], &["`normalize`"]);
    body("emit lse, lse", &["E0405"], &["`lse` is emitted twice"]);
    check("attention a { branch p { } output p output p }", &["E0405"], &["`output`"]);
    for statement in ["input u[h]: f32", "axis u = 4", "branch r { }", "output p", "emit p.lse"] {
        check(
            &format!("attention a {{ branch p {{ {statement} }} output p }}"),
            &["E0407"],
            &["move it out"],
        );
    }
    check(
        "attention a { branch p { normalize relu } output p * p.lse }",
        &["E0408"],
        &["normalized key by key"],
    );
}

#[test]
fn several_mistakes_are_told_in_one_run() {
    check(
        "attention a(n: int = 4) {
            input x[b, g, j]: f32
            let   y[b, g, j] = exp(slope * x[b, g, j])
            mask  x[b, g, j]
            mask  j <= i and m == 3
            score = score + tanhh(y[b, g, j])
            select top(n * 0.5) of y[b, g]
        }
        attention c { mask u }",
        &["E0201", "E0201", "E0203", "E0305", "E0302", "E0307", "E0201"],
        &["slope", "`m`", "did you mean `tanh`?"],
    );
}

#[test]
fn warnings() {
    check("attention a { input u[h]: f32 mask j <= i }", &["W0201"], &["the input `u`"]);
    check("attention a { let u[h] = 1.0 mask j <= i }", &["W0201"], &["the `let` `u`"]);
    check("attention a { axis u = 4 mask j <= i }", &["W0201"], &["the axis `u`"]);
    check("fn f(u) = u attention a { mask j <= i }", &["W0201"], &["the function `f`"]);
    check("attention a { branch p { } branch r { } output p }", &["W0201"], &["the branch `r`"]);
    check(
        "attention a { let u[h] = w[h] let w[h] = 1.0 mask j <= i }",
        &["W0201", "W0201"],
        &["the `let` `u`", "the `let` `w`"],
    );
    // An error may be why something is unused, so warnings wait.
    check("attention a { input u[h]: f32 mask j }", &["E0302"], &[]);
}
