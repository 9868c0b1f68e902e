//! Strips: an elementary function applied to a row of f32.
//!
//! Input: `n` elements. Output: as many, in place if wanted. The loop of each function is here, its arithmetic in
//! [`crate::math`].

use crate::math;
use crate::simd::Simd;

/// One strip function for each name in `math`.
macro_rules! strips {
    ($($name:ident)*) => { $(
        #[inline(always)]
        pub(crate) unsafe fn $name<S: Simd>(x: *const f32, y: *mut f32, n: usize) {
            let mut i = 0;
            while i + 2 * S::LANES <= n {
                let (u, v) = (S::load(x.add(i)), S::load(x.add(i + S::LANES)));
                let (u, v) = (math::$name::<S>(u), math::$name::<S>(v));
                S::store(y.add(i), u);
                S::store(y.add(i + S::LANES), v);
                i += 2 * S::LANES;
            }
            while i < n {
                let tail = S::tail(if n - i < S::LANES { n - i } else { S::LANES });
                S::store_tail(y.add(i), tail, math::$name::<S>(S::load_tail(x.add(i), tail)));
                i += S::LANES;
            }
        }
    )* };
}

strips!(exp exp2 log sqrt rsqrt tanh sigmoid softplus logsigmoid);
