//! Models of the way into the sequencer, and of the watermarks that lead out of it.

use super::inbox::{Consumer, Inbox, Order};
use super::intake::Intake;
use super::progress::Progress;
use crate::Told;
use loom::thread;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const ALL: &[(&str, fn())] = &[
    ("values_arrive_whole_once_and_in_their_producers_order", intake),
    ("the_consumer_sleeps_through_nothing_and_ends_with_everything_taken", finish),
    ("a_value_wakes_the_consumer", || wakes(true)),
    ("a_value_that_came_before_the_consumer_is_taken", || wakes(false)),
    ("whoever_comes_when_the_wait_for_company_is_over_wakes_the_consumer", company),
    ("who_sees_an_order_sees_what_came_before", ordered),
    ("whoever_is_told_to_end_at_once_sees_what_came_before", abandon),
    ("who_sees_a_published_ordinal_sees_what_was_done_for_it", published),
    ("who_sees_a_committed_ordinal_sees_what_was_done_for_it", committed),
    ("a_commit_publishes_what_nobody_published_before", commit_publishes),
    ("whoever_waits_for_an_ordinal_is_woken", wait),
];

fn tell(value: u64) -> Told {
    let told = Told::new();
    told.write(value);
    told
}

fn intake() {
    let intake = Arc::new(Intake::new());
    let producers = [10, 20].map(|first| {
        let intake = intake.clone();
        thread::spawn(move || {
            intake.push(tell(first));
            intake.push(tell(first + 1));
        })
    });
    let mut seen = Vec::new();
    let drain = |seen: &mut Vec<u64>| {
        let mut values = Vec::new();
        intake.drain(&mut values);
        seen.extend(values.iter().map(Told::read));
    };
    drain(&mut seen);
    drain(&mut seen);
    producers.into_iter().for_each(|p| p.join().unwrap());
    drain(&mut seen);
    for first in [10, 20] {
        let own: Vec<u64> = seen.iter().copied().filter(|v| v / 10 * 10 == first).collect();
        assert_eq!(own, [first, first + 1]);
    }
    assert_eq!(seen.len(), 4);
}

/// Takes values, and looks at the end for what was said before the order.
struct Taker {
    taken: Arc<std::sync::Mutex<Vec<u64>>>,
    progress: Arc<Progress>,
    before_order: Arc<Told>,
    /// How many values it waits for.
    wanted: Option<usize>,
}

impl Consumer<Told> for Taker {
    type Error = ();

    fn expects(&self) -> Option<(usize, Duration)> {
        self.wanted.map(|wanted| (wanted, Duration::from_secs(1)))
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn turn(&mut self, waiting: &mut VecDeque<Told>) -> Result<(), ()> {
        let mut taken = self.taken.lock().unwrap();
        taken.extend(waiting.drain(..).map(|told| told.read()));
        let count = taken.len() as u64;
        drop(taken);
        self.progress.commit(count);
        Ok(())
    }

    fn idle(&mut self) -> Result<Option<Duration>, ()> {
        Ok(None)
    }

    fn finish(&mut self) -> Result<(), ()> {
        assert_eq!(self.before_order.read(), 1);
        Ok(())
    }
}

fn finish() {
    let inbox = Arc::new(Inbox::new());
    let (taken, before_order) = (Arc::default(), Arc::new(Told::new()));
    let progress = Progress::new();
    let taker = Taker { taken: Arc::clone(&taken), progress, before_order: before_order.clone(), wanted: None };
    let serving = inbox.clone();
    let consumer = thread::spawn(move || serving.serve(&mut { taker }, &mut VecDeque::new()).unwrap());
    let other = inbox.clone();
    let producer = thread::spawn(move || other.push(tell(1)));
    inbox.attend(consumer.thread());
    inbox.push(tell(2));
    producer.join().unwrap();
    before_order.write(1);
    inbox.give(Order::Finish);
    consumer.join().unwrap();
    let mut taken = taken.lock().unwrap().clone();
    taken.sort_unstable();
    assert_eq!(taken, [1, 2]);
}

fn wakes(is_attended: bool) {
    serves(is_attended, &[1], None);
}

/// The first value starts a wait for two more, of which one comes during it, after it, or while the consumer sleeps.
fn company() {
    serves(true, &[1, 2], Some(3));
}

fn serves(is_attended: bool, values: &[u64], wanted: Option<usize>) {
    let (inbox, progress, before_order) =
        (Arc::new(Inbox::new()), Progress::new(), Arc::new(Told::new()));
    before_order.write(1);
    let other = inbox.clone();
    let taker = Taker { taken: Arc::default(), progress: progress.clone(), before_order, wanted };
    let consumer = thread::spawn(move || other.serve(&mut { taker }, &mut VecDeque::new()).unwrap());
    let push = || values.iter().for_each(|value| inbox.push(tell(*value)));
    if is_attended {
        inbox.attend(consumer.thread());
        push();
    } else {
        push();
        inbox.attend(consumer.thread());
    }
    // No order wakes the consumer before it has taken the values. A thread of its own waits: a wake that comes when it has seen enough is
    // for a thread that then does nothing, where loom would take it for the end of a join.
    let count = values.len() as u64;
    thread::spawn(move || progress.wait(count)).join().unwrap();
    inbox.give(Order::Finish);
    consumer.join().unwrap();
}

fn ordered() {
    let (inbox, before) = (Arc::new(Inbox::<Told>::new()), Arc::new(Told::new()));
    let (other, told) = (inbox.clone(), before.clone());
    let giver = thread::spawn(move || {
        told.write(1);
        other.give(Order::Finish);
    });
    if inbox.order() == Order::Finish {
        assert_eq!(before.read(), 1);
    }
    giver.join().unwrap();
}

fn abandon() {
    let inbox = Arc::new(Inbox::new());
    let before_order = Arc::new(Told::new());
    let (serving, told) = (inbox.clone(), before_order.clone());
    let consumer = thread::spawn(move || {
        let progress = Progress::new();
        let taker = Taker { taken: Arc::default(), progress, before_order: told.clone(), wanted: None };
        serving.serve(&mut { taker }, &mut VecDeque::new()).unwrap();
        assert_eq!(told.read(), 1);
    });
    inbox.attend(consumer.thread());
    before_order.write(1);
    inbox.give(Order::Abandon);
    consumer.join().unwrap();
}

fn published() {
    watch(|progress| progress.publish(1), |progress| progress.published() == 1);
}

fn committed() {
    watch(|progress| progress.commit(1), |progress| progress.committed() == 1);
}

fn commit_publishes() {
    watch(|progress| progress.commit(1), |progress| progress.published() == 1);
}

/// One thread does something and steps, the other looks at the watermark.
fn watch(step: fn(&Progress), is_there: fn(&Progress) -> bool) {
    let (progress, done) = (Progress::new(), Arc::new(Told::new()));
    let (other, doing) = (progress.clone(), done.clone());
    let stepper = thread::spawn(move || {
        doing.write(1);
        step(&other);
    });
    if is_there(&progress) {
        assert_eq!(done.read(), 1);
    }
    stepper.join().unwrap();
    assert!(is_there(&progress));
}

fn wait() {
    let (progress, done) = (Progress::new(), Arc::new(Told::new()));
    let (other, told) = (progress.clone(), done.clone());
    let waiter = thread::spawn(move || {
        other.wait(2);
        assert_eq!(told.read(), 1);
    });
    progress.commit(1);
    done.write(1);
    progress.commit(2);
    waiter.join().unwrap();
}
