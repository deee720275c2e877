//! A mailbox made of plain files.
