//! Whose writes go to both sides, as the stages have it.

use std::sync::Arc;

use crate::flags::StageDecider;
use crate::migration::ResourceName;
use crate::sync::tail::Mirrored;

/// Asks the stages in force.
#[derive(Debug)]
pub(super) struct StagesMirrored(pub(super) Arc<StageDecider>);

impl Mirrored for StagesMirrored {
    fn is_mirrored(&self, resource: &ResourceName) -> bool {
        self.0.decide(resource).effective.writes_both()
    }
}
