//! What is noted in the store behind the publishing path: how far generations got, what nodes said.
//!
//! A queue and one writer; whatever has gathered while it wrote goes into its next transaction.

use tokio::sync::{mpsc, oneshot};

use crate::domain::{Acknowledgement, GenerationNumber, GenerationState};
use crate::limits::ACKNOWLEDGEMENTS_QUEUED_MAX;
use crate::store::Store;

/// The queue's entrance.
#[derive(Debug, Clone)]
pub(super) struct Words(mpsc::Sender<Word>);

#[derive(Debug)]
enum Word {
    State(GenerationNumber, GenerationState),
    Said(Acknowledgement),
    Flush(oneshot::Sender<()>),
}

impl Words {
    /// Starts the writer; it ends when the last entrance is gone.
    pub(super) fn start(store: Store) -> Self {
        let (sender, receiver) = mpsc::channel(ACKNOWLEDGEMENTS_QUEUED_MAX);
        tokio::spawn(write(store, receiver));
        Self(sender)
    }

    /// Notes how far a generation got.
    pub(super) fn state(&self, number: GenerationNumber, state: GenerationState) {
        self.send(Word::State(number, state));
    }

    /// Notes what a node said.
    pub(super) fn said(&self, said: Acknowledgement) {
        self.send(Word::Said(said));
    }

    /// Waits until everything that was noted before is in the store.
    pub(super) async fn flush(&self) {
        let (sender, done) = oneshot::channel();
        if self.0.send(Word::Flush(sender)).await.is_ok() {
            // An error means that the writer is gone, and then there is nothing to wait for.
            done.await.ok();
        }
    }

    fn send(&self, word: Word) {
        if self.0.try_send(word).is_err() {
            tracing::warn!("the store is too slow: a note on a generation's progress is lost");
        }
    }
}

async fn write(store: Store, mut queue: mpsc::Receiver<Word>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, ACKNOWLEDGEMENTS_QUEUED_MAX).await > 0 {
        let (mut states, mut said, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for word in batch.drain(..) {
            match word {
                Word::State(number, state) => states.push((number, state)),
                Word::Said(word) => said.push(word),
                Word::Flush(sender) => waiting.push(sender),
            }
        }
        if let Err(error) = store.note(&states, &said).await {
            tracing::warn!(%error, "notes on the progress of generations are lost");
        }
        for sender in waiting {
            sender.send(()).ok();
        }
    }
}
