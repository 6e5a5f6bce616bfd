//! How a demo looks: bars on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Format, print};
use crate::demo::{Audience, Meters, Scene};
use crate::sync::backfill::BackfillProgress;

/// The meters in a line.
pub(super) fn sum_up(meters: &Meters) -> String {
    format!(
        "{} requests ({} answered by the store), comparisons: {}, {} edits synced, {} owed",
        meters.requests,
        meters.from_store,
        verdicts(&meters.verdicts),
        meters.edits,
        meters.owed,
    )
}

fn verdicts(verdicts: &BTreeMap<&'static str, u64>) -> String {
    if verdicts.is_empty() {
        return "none yet".to_owned();
    }
    let words: Vec<_> =
        verdicts.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    words.join(", ")
}

/// Lines, for a pipe or a file; silent where the result is JSON.
#[derive(Debug)]
pub(super) struct Plain {
    format: Format,
    last: Mutex<Option<Meters>>,
}

impl Plain {
    pub(super) fn new(format: Format) -> Self {
        Self { format, last: Mutex::default() }
    }

    fn line(&self, text: &str) {
        if self.format == Format::Text {
            print(text);
        }
    }
}

impl Audience for Plain {
    fn scene(&self, scene: &Scene) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(meters) = last.filter(|_| scene.number > 1) {
            self.line(&format!("      {}", sum_up(&meters)));
        }
        self.line(&format!("[{}/{}] {}", scene.number, scene.of, scene.title));
    }

    fn tell(&self, text: &str) {
        self.line(&format!("      {text}"));
    }

    fn backfill(&self, _: &BackfillProgress) {}

    fn meters(&self, meters: &Meters) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(meters.clone());
    }
}

/// Bars that move, on a terminal.
#[derive(Debug)]
pub(super) struct Screen {
    all: MultiProgress,
    scenes: ProgressBar,
    stage: ProgressBar,
    backfill: ProgressBar,
    requests: ProgressBar,
    verdicts: ProgressBar,
    edits: ProgressBar,
}

impl Screen {
    /// A screen, if standard error is a terminal.
    pub(super) fn on_terminal() -> Option<Self> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let all = MultiProgress::new();
        let scenes = all.add(ProgressBar::new(0));
        scenes.set_style(style("{bar:40.cyan} scene {pos} of {len}, {elapsed_precise}"));
        scenes.enable_steady_tick(Duration::from_millis(200));
        let line = |label: &'static str| {
            let bar = all.add(ProgressBar::new(0));
            bar.set_style(style("  {prefix:<12} {msg}"));
            bar.set_prefix(label);
            bar
        };
        let stage = line("stage");
        let backfill = all.add(ProgressBar::new(0));
        backfill.set_style(style("  {prefix:<12} {bar:30} {pos}/{len} rows"));
        backfill.set_prefix("backfill");
        let (requests, verdicts, edits) = (line("requests"), line("comparisons"), line("sync"));
        Some(Self { scenes, stage, backfill, requests, verdicts, edits, all })
    }

    /// Takes the bars away; the lines above stay.
    pub(super) fn clear(&self) {
        // A terminal that is gone has nothing to be cleared.
        let _ = self.all.clear();
    }

    fn line(&self, text: &str) {
        let _ = self.all.println(text);
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates above are right; the default style is no loss if one is not.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Audience for Screen {
    fn scene(&self, scene: &Scene) {
        self.line(&format!("[{}/{}] {}", scene.number, scene.of, scene.title));
        self.scenes.set_length(scene.of.into());
        self.scenes.set_position(scene.number.into());
    }

    fn tell(&self, text: &str) {
        self.line(&format!("      {text}"));
    }

    fn backfill(&self, progress: &BackfillProgress) {
        // Rows come and go meanwhile: what was read in the end is all there was.
        let total = progress.total.filter(|_| !progress.finished);
        self.backfill.set_length(total.unwrap_or(progress.read));
        self.backfill.set_position(progress.read);
    }

    fn meters(&self, meters: &Meters) {
        self.stage.set_message(meters.stage.to_string());
        let requests = format!("{}, {} answered by the store", meters.requests, meters.from_store);
        self.requests.set_message(requests);
        self.verdicts.set_message(verdicts(&meters.verdicts));
        self.edits.set_message(format!("{} edits, {} owed to legacy", meters.edits, meters.owed));
    }
}
