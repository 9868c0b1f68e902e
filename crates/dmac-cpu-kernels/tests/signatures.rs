//! The interface as text: a change of a signature shows here before it breaks a code generator.

#[test]
fn signatures_are_pinned() {
    insta::assert_snapshot!(dmac_cpu_kernels::SignatureList.to_string());
}

#[test]
fn every_kernel_finds_its_signature_and_address() {
    for signature in dmac_cpu_kernels::SIGNATURES {
        assert_eq!(signature.kernel.signature(), signature);
        for table in dmac_cpu_kernels::available() {
            assert!(!table.address(signature.kernel).is_null());
            assert_eq!(
                table.symbol(signature.kernel).to_string(),
                format!("dmac_rt_{}_{}", table.isa, signature.name)
            );
        }
    }
}
