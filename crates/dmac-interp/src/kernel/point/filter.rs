//! Filters: the items that are taken, in order, appended to a list.

use super::{Global, Machine};
use dmac_schedule::kernel::{Expr, Stmt};

impl Machine<'_> {
    pub(super) fn filter(
        &mut self,
        global: &mut Global,
        stmt: &Stmt,
        vars: &mut [Option<f64>],
        group: usize,
    ) -> Result<(), String> {
        let Stmt::Filter { var, lo, hi, item, source, keep, tensor, index, limit, count } = stmt else {
            unreachable!("the caller looked")
        };
        let mut place = self.place(global, vars, group, None);
        let (lo, hi, limit) = (place.int(lo)?, place.int(hi)?, place.int(limit)?);
        let at: Result<Vec<i64>, String> = index.iter().map(|x| place.int(x)).collect();
        let at = at?;
        let mut taken = place.int(&Expr::Var(*count))?;
        for place in lo..hi {
            vars[var.0 as usize] = Some(place as f64);
            let found = self.place(global, vars, group, None).value(source)?;
            vars[item.0 as usize] = Some(found);
            if self.place(global, vars, group, None).value(keep)? != 0.0 {
                if taken < limit {
                    let mut slot = at.clone();
                    slot.push(taken);
                    global.store(self.program, *tensor, &slot, found)?;
                }
                taken += 1;
            }
        }
        vars[count.0 as usize] = Some(taken as f64);
        Ok(())
    }
}
