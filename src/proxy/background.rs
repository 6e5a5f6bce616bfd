//! Work that nobody waits for, on threads that give way to everything else.
//!
//! A comparison costs more processor time than the answer that it follows. On the threads that answer, it would stand in the next
//! answer's way (design rule 3); on threads of their own with the lowest priority, comparisons get what answers leave, and
//! what there is no time for is shed.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc;

/// How long it is left alone between two looks for work while there is some: to wake a thread takes whoever answers longer than to
/// leave it a note.
const NAP: Duration = Duration::from_millis(1);
/// Looks in vain after which it waits to be woken.
const LOOKS: u32 = 50;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Threads of their own, shared by copies; they end with the last one.
#[derive(Debug, Clone)]
pub struct Background(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    /// Who puts work in bounds how much there is of it.
    work: mpsc::UnboundedSender<Work>,
    /// Where sockets are: one that is opened by a thread that waits for everybody would make whoever uses it next wait, too.
    foreground: Handle,
}

impl Background {
    /// Starts a thread for every four processors, at least one. Must be called within a runtime.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn start() -> std::io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(processors.div_ceil(4))
            .thread_name("crossfade-background")
            .on_thread_start(give_way)
            .enable_all()
            .build()?;
        let (work, queue) = mpsc::unbounded_channel();
        runtime.spawn(begin_all(queue));
        let foreground = Handle::current();
        Ok(Self(Arc::new(Threads { runtime: Some(runtime), work, foreground })))
    }

    /// Has it done some time. How much waits is bounded by who asks: a comparison holds a permit for as long.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        // The other end is gone only while the process ends.
        let _ = self.0.work.send(Box::pin(work));
    }

    /// Does a part that uses sockets where these are; `None` if the process ends meanwhile.
    pub async fn in_foreground<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.0.foreground.spawn(work).await.ok()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The last copy may be dropped by an asynchronous task, which must not wait for threads.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Begins what has come, a thousand times a second while anything comes.
async fn begin_all(mut queue: mpsc::UnboundedReceiver<Work>) {
    while let Some(work) = queue.recv().await {
        tokio::spawn(work);
        let mut in_vain = 0;
        while in_vain < LOOKS {
            tokio::time::sleep(NAP).await;
            in_vain += 1;
            while let Ok(work) = queue.try_recv() {
                tokio::spawn(work);
                in_vain = 0;
            }
        }
    }
}

/// Linux has a priority for each thread. Elsewhere it is the process's, and stays.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(19) {
        tracing::warn!(%error, "comparisons run with the priority of answers");
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn thread() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn work_is_done_elsewhere_and_its_sockets_here() {
        let background = Background::start().unwrap();
        let here = std::thread::current().id();
        let (tell, told) = oneshot::channel();
        let copy = background.clone();
        background.spawn(async move {
            let there = thread();
            let back = copy.in_foreground(async { std::thread::current().id() }).await;
            drop(tell.send((there, back)));
        });
        let (there, back) = told.await.unwrap();
        assert_eq!((there.as_str(), back), ("crossfade-background", Some(here)));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn its_threads_give_way() {
        let background = Background::start().unwrap();
        let (tell, told) = oneshot::channel();
        // An increment of nothing tells the thread's own.
        background.spawn(async move {
            let _ = tell.send(rustix::process::nice(0));
        });
        let here = rustix::process::nice(0).unwrap();
        assert_eq!(told.await.unwrap(), Ok((here + 19).min(19)));
    }
}
