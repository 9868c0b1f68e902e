//! Every instruction test gives its independently computed result, under several schedules.

use dmac_ptx_interp::{Options, conformance};

#[test]
fn every_instruction_test_agrees() {
    let mut wrong = Vec::new();
    let cases = conformance::cases();
    for case in &cases {
        for seed in 0..2 {
            let options = Options { seed, workers: 1, ..Options::default() };
            match case.interpret(&options) {
                Ok(after) => wrong.extend(case.compare(&after).err()),
                Err(findings) => {
                    wrong.push(format!(
                        "{}: {}",
                        case.name,
                        findings.first().map(ToString::to_string).unwrap_or_default()
                    ));
                }
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn names_are_distinct_and_a_wrong_result_is_refused() {
    let cases = conformance::cases();
    let mut names: Vec<&str> = cases.iter().map(|c| c.name.as_str()).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for case in &cases {
        let mut after: Vec<Vec<u8>> = case.buffers.iter().map(|b| b.bytes.clone()).collect();
        for (a, b) in after.iter_mut().zip(&case.buffers) {
            if let Some((want, _)) = &b.expected {
                a.clone_from(want);
            }
        }
        assert!(case.compare(&after).is_ok(), "{}", case.name);
        for (a, b) in after.iter_mut().zip(&case.buffers).filter(|(_, b)| b.expected.is_some()) {
            // The sign and the exponent of the first element.
            let each = b
                .expected
                .as_ref()
                .map_or(4, |e| if matches!(e.1, conformance::Tolerance::Half { .. }) { 2 } else { 4 });
            a[each - 1] ^= 0x55;
        }
        assert!(case.compare(&after).is_err(), "{}", case.name);
    }
}
