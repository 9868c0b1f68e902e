//! Reductions along rows: the online softmax, sums, maxima and minima.
//!
//! A row of a fragment lies in the four lanes of a quad, so a reduction is local, then two exchanges.

use super::value::{Bool, Int, Value};
use super::{Emitter, TileRegs};
use dmac_ptx::{Cmp, F32, Reg, ShflMode};
use dmac_schedule::kernel::{Expr, MapReduction, TileId};

impl Emitter<'_> {
    fn combine(&mut self, op: MapReduction, into: Reg<F32>, x: Reg<F32>) {
        match op {
            MapReduction::Sum => self.k.add(into, into, x),
            MapReduction::Max => self.k.max_f(into, into, x),
            MapReduction::Min => self.k.min_f(into, into, x),
        };
    }

    /// The reduction of a value over the lanes that share a row.
    fn across_quad(&mut self, op: MapReduction, value: Reg<F32>) {
        for distance in [1, 2] {
            let other = self.k.shfl(ShflMode::Bfly, "other", value, distance);
            self.combine(op, value, other);
        }
    }

    /// One step of the online softmax, in powers of two. The maximum times log2(e) is rounded once for a row, and the
    /// factor of the old sum is made of the same rounded numbers: the rounding cancels. `.rn` keeps the products from
    /// being contracted with the subtraction: the factor would be off by a rounding, and their product over thousands of
    /// tiles by as many.
    pub(crate) fn online_softmax(
        &mut self,
        scores: TileId,
        (row_max, row_sum): (TileId, TileId),
        acc: TileId,
        cols: &Expr,
    ) {
        const LOG2_E: f32 = std::f32::consts::LOG2_E;
        let groups = self.fragment(scores);
        let all = self.kernel.tile(scores).cols;
        let cols = self.int_value(cols);
        if cols.known() != Some(all as i32) || !all.is_multiple_of(8) {
            // Columns beyond the last become masked, for which most tiles have no need.
            let some = self.int_compare(Cmp::Lt, cols, Int::constant(8 * groups.len() as i64));
            let p = self.condition(some);
            let end = self.k.label("whole");
            self.k.branch_if(!p, end);
            self.scoped(|e| {
                for (at, register) in groups.iter().enumerate().flat_map(|(group, registers)| {
                    registers.iter().enumerate().map(move |(at, register)| (8 * group + at % 2, *register))
                }) {
                    let col = Int::from(e.thread.pair).plus(at as i32);
                    let inside = e.int_compare(Cmp::Lt, col, cols);
                    let inside = e.condition(inside);
                    e.k.selp(register, register, f32::NEG_INFINITY, inside);
                }
            });
            self.k.place(end);
        }
        let (maxima, _) = self.row_vector(row_max);
        let (sums, _) = self.row_vector(row_sum);
        let acc = self.fragment(acc);
        for row in 0..2 {
            let values: Vec<Reg<F32>> =
                groups.iter().flat_map(|group| [group[2 * row], group[2 * row + 1]]).collect();
            let max = self.k.max_f("max", maxima[row], values[0]);
            for value in &values[1..] {
                self.k.max_f(max, max, *value);
            }
            self.across_quad(MapReduction::Max, max);
            // While nothing is attended the maximum is -inf; 0 in its place makes all weights 0.
            let none = self.k.setp_f("cond", max, Cmp::Eq, f32::NEG_INFINITY);
            let shift = self.k.mul_rn("shift", max, LOG2_E);
            self.k.selp::<F32>(shift, 0.0, shift, none);
            let old = self.k.mul_rn("real", maxima[row], LOG2_E);
            let power = self.k.sub("real", old, shift);
            let alpha: Reg<F32> = self.k.reg("alpha");
            self.power_of_two(alpha, power);
            self.k.mov(maxima[row], max);
            let minus = self.k.neg_f("real", shift);
            let partial = self.k.mov::<F32>("partial", 0.0);
            for value in values {
                self.k.fma(value, value, LOG2_E, minus);
                self.power_of_two(value, value);
                self.k.add(partial, partial, value);
            }
            self.across_quad(MapReduction::Sum, partial);
            self.k.fma(sums[row], sums[row], alpha, partial);
            for group in &acc {
                for register in [group[2 * row], group[2 * row + 1]] {
                    self.k.mul(register, register, alpha);
                }
            }
        }
    }

    /// `dst[row] = op of src[row, ..cols]`.
    pub(crate) fn row_reduce(
        &mut self,
        dst: TileId,
        src: TileId,
        op: MapReduction,
        (rows, cols): (&Expr, &Expr),
        accumulate: bool,
    ) {
        let (rows, cols) = (self.int_value(rows), self.int_value(cols));
        if let (TileRegs::Shared, TileRegs::Shared) =
            (&self.tiles[dst.0 as usize], &self.tiles[src.0 as usize])
        {
            return self.reduce_shared_rows(dst, src, op, (rows, cols), accumulate);
        }
        let (registers, shared) = self.row_vector(dst);
        let leader = self.leads_quad();
        for (at, register) in registers.into_iter().enumerate() {
            let row = Int::from(self.thread.row).plus(8 * at as i32);
            let inside = self.int_compare(Cmp::Lt, row, rows);
            let total = self.neutral(op);
            match self.tiles[src.0 as usize].clone() {
                TileRegs::Fragment(groups) => {
                    for (group, registers) in groups.iter().enumerate() {
                        for column in 0..2 {
                            let col = Int::from(self.thread.pair).plus((8 * group + column) as i32);
                            let inside = self.int_compare(Cmp::Lt, col, cols);
                            let value = Value::Float(registers[2 * at + column].into());
                            let neutral = Value::Float(super::value::Float::Constant(neutral(op)));
                            let Value::Float(value) = self.choose(inside, value, neutral) else { continue };
                            let value = self.float(value);
                            self.combine(op, total, value);
                        }
                    }
                    self.across_quad(op, total);
                }
                _ => self.along_shared_row(src, op, total, row, cols, inside),
            }
            if accumulate {
                let old = match shared {
                    Some(tile) => match self.load_shared(dst, tile, row, Int::constant(0), inside) {
                        Value::Float(old) => self.float(old),
                        old => panic!("codegen: {old:?} is no sum"),
                    },
                    None => register,
                };
                self.combine(op, total, old);
            }
            match shared {
                Some(tile) => {
                    let guard = self.and(leader, inside);
                    self.store_shared(dst, tile, (row, Int::constant(0)), Value::Float(total.into()), guard);
                }
                None => {
                    self.k.mov(register, total);
                }
            }
        }
    }

    /// Rows of a tile in shared memory, a thread a row.
    fn reduce_shared_rows(
        &mut self,
        dst: TileId,
        src: TileId,
        op: MapReduction,
        (rows, cols): (Int, Int),
        accumulate: bool,
    ) {
        let tile = self.in_shared(dst).expect("codegen: the row vector is in shared memory");
        let threads = self.plan.threads() as usize;
        for pass in 0..tile.rows.div_ceil(threads) {
            let row = Int::from(self.thread.tid).plus((pass * threads) as i32);
            let inside = self.int_compare(Cmp::Lt, row, rows);
            let total = self.neutral(op);
            self.along_shared_row(src, op, total, row, cols, inside);
            if accumulate {
                match self.load_shared(dst, tile, row, Int::constant(0), inside) {
                    Value::Float(old) => {
                        let old = self.float(old);
                        self.combine(op, total, old);
                    }
                    old => panic!("codegen: {old:?} is no sum"),
                }
            }
            self.store_shared(dst, tile, (row, Int::constant(0)), Value::Float(total.into()), inside);
        }
    }

    /// Reduces a row in shared memory into a register.
    fn along_shared_row(
        &mut self,
        src: TileId,
        op: MapReduction,
        total: Reg<F32>,
        row: Int,
        cols: Int,
        inside: Bool,
    ) {
        let tile = self.in_shared(src).expect("codegen: the tile is in shared memory");
        let zero = Value::Int(Int::constant(0));
        let end = match self.choose(inside, Value::Int(cols), zero) {
            Value::Int(end) => self.int(end),
            end => panic!("codegen: {end:?} is no bound"),
        };
        let column = self.k.mov("column", 0);
        let (head, done) = (self.k.label("row"), self.k.label("row_end"));
        let more = self.k.setp_s("more", column, Cmp::Lt, end);
        self.k.branch_if(!more, done);
        self.k.place(head);
        self.scoped(|e| {
            let value = e.load_shared(src, tile, row, column.into(), Bool::Constant(true));
            let Value::Float(value) = value else { panic!("codegen: a reduction is of floats") };
            let value = e.float(value);
            e.combine(op, total, value);
            e.k.add(column, column, 1);
            e.k.setp_s(more, column, Cmp::Lt, end);
        });
        self.k.branch_if(more, head);
        self.k.place(done);
    }

    fn neutral(&mut self, op: MapReduction) -> Reg<F32> {
        self.k.mov("total_f", neutral(op))
    }
}

fn neutral(op: MapReduction) -> f32 {
    match op {
        MapReduction::Sum => 0.0,
        MapReduction::Max => f32::NEG_INFINITY,
        MapReduction::Min => f32::INFINITY,
    }
}
