//! The harness of the tests in `suite/`: files of the project and data tables in, programs that are built and compared out.
//!
//! Why a package of its own: these tests belong to no stage. They read the project as a newcomer gets it (its texts, its
//! library of programs, its source) and hold compiled code against the reference.

pub mod files;
pub mod markdown;
pub mod subject;
pub mod table;
