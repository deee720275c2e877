//! How often an append asks for memory, in the library. The counting allocator is the one
//! reason for `unsafe`, and it is in this test binary only.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use mbox::{Append, Message, Root};

use crate::{figures, writes};

struct Counting;

thread_local! {
    // Const and without a destructor: to look at it allocates nothing.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    COUNT.set(COUNT.get() + 1);
}

// SAFETY: everything is passed on to System unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn allocations_of_an_append() {
    let dir = tempfile::tempdir().unwrap();
    let inbox = Root::at(dir.path()).mailbox("inbox").unwrap();
    let message = Message::new("hello").from("alice");
    // The first one makes the root.
    inbox.append(&message, &Append::default()).unwrap();
    // Not each is alike: a random number that begins with a zero is written in two steps.
    let counts = (0..20).map(|_| {
        let before = COUNT.get();
        inbox.append(&message, &Append::default()).unwrap();
        COUNT.get() - before
    });
    let each = counts.min().unwrap();
    let name = "allocations: append";
    if writes() {
        return figures::write(name, &each.to_string());
    }
    let figure = figures::number(name).expect("figures.txt has it");
    // An optimizer may leave some out; none puts one in.
    let is_as_built_by_default = cfg!(debug_assertions);
    assert!(
        each == figure || each < figure && !is_as_built_by_default,
        "an append allocates {each} times; figures.txt has {figure}. If that is meant: \
         MBOX_COUNTS_WRITE=1 cargo test --test counts"
    );
}
