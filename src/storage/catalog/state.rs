//! What the catalog says at one moment, and how edits change it.

use super::Edit;
use crate::schema::{Shape, TableDef};
use crate::storage::{PartId, PartMeta, Refusal, StorageError};
use crate::types::{SeqTxn, TableId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All tables of a server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CatalogState {
    /// The tables that exist.
    pub tables: BTreeMap<TableId, Arc<TableState>>,
    /// The tables that are gone; their ids are never used again.
    pub dropped: BTreeSet<TableId>,
}

/// One table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableState {
    /// Its definition, columns and history.
    pub shape: Shape,
    /// Its parts, by partition, then by transaction.
    pub parts: BTreeMap<PartId, Arc<PartMeta>>,
    /// All rows up to here are in parts.
    pub flushed_txn: SeqTxn,
}

/// What a table was before an edit, so that edits that could not be written are taken back.
#[derive(Debug)]
pub(super) struct Undo {
    table: TableId,
    before: Option<Arc<TableState>>,
    was_dropped: bool,
}

impl CatalogState {
    /// Applies an edit, or changes nothing. What was before goes onto `undo`.
    pub(super) fn apply(&mut self, edit: &Edit, undo: &mut Vec<Undo>) -> Result<(), StorageError> {
        let table = edit.table();
        let before = self.tables.get(&table).cloned();
        let was_dropped = self.dropped.contains(&table);
        let after = next_state(before.as_ref(), was_dropped, edit)
            .map_err(|refusal| StorageError::Refused { table, refusal })?;
        match after {
            Some(state) => {
                self.tables.insert(table, Arc::new(state));
            }
            None => {
                self.tables.remove(&table);
                self.dropped.insert(table);
            }
        }
        undo.push(Undo { table, before, was_dropped });
        Ok(())
    }

    /// Takes edits back, the last one first, until `undo` has `len` left.
    pub(super) fn roll_back(&mut self, undo: &mut Vec<Undo>, len: usize) {
        for Undo { table, before, was_dropped } in undo.drain(len..).rev() {
            match before {
                Some(state) => self.tables.insert(table, state),
                None => self.tables.remove(&table),
            };
            if !was_dropped {
                self.dropped.remove(&table);
            }
        }
    }

    /// Edits that make this state from nothing.
    pub(super) fn to_edits(&self) -> Vec<Edit> {
        let mut edits: Vec<Edit> = self.dropped.iter().map(|&table| Edit::Drop(table)).collect();
        for (&table, state) in &self.tables {
            edits.push(Edit::Create(state.shape.def.clone()));
            edits.push(Edit::Define(state.shape.clone()));
            let parts = state.parts.values().map(|part| PartMeta::clone(part)).collect();
            edits.push(Edit::Flush { table, parts, flushed_txn: state.flushed_txn });
        }
        edits
    }
}

/// A table after an edit; `None` when it is gone.
fn next_state(
    before: Option<&Arc<TableState>>,
    was_dropped: bool,
    edit: &Edit,
) -> Result<Option<TableState>, Refusal> {
    let existing = || before.map(|state| TableState::clone(state)).ok_or(Refusal::NoTable);
    match edit {
        Edit::Create(_) if before.is_some() || was_dropped => Err(Refusal::TableExists),
        Edit::Create(def) => Ok(Some(TableState::created(def.clone()))),
        Edit::Define(shape) => {
            let mut next = existing()?;
            next.define(shape)?;
            Ok(Some(next))
        }
        Edit::Flush { parts, flushed_txn, .. } => {
            let mut next = existing()?;
            next.advance(*flushed_txn)?;
            next.add_parts(parts)?;
            Ok(Some(next))
        }
        Edit::Replace { remove, add, .. } => {
            let mut next = existing()?;
            next.remove_parts(remove)?;
            next.add_parts(add)?;
            Ok(Some(next))
        }
        Edit::Drop(_) => Ok(None),
    }
}

impl TableState {
    fn created(def: TableDef) -> TableState {
        let (shape, parts) = (Shape::new(def, Vec::new()), BTreeMap::new());
        TableState { shape, parts, flushed_txn: SeqTxn::NONE }
    }

    fn advance(&mut self, flushed_txn: SeqTxn) -> Result<(), Refusal> {
        if flushed_txn < self.flushed_txn {
            let held = self.flushed_txn;
            return Err(Refusal::FlushedBackwards { held, sent: flushed_txn });
        }
        self.flushed_txn = flushed_txn;
        Ok(())
    }

    fn define(&mut self, shape: &Shape) -> Result<(), Refusal> {
        let (held, sent) = (self.shape.next_column, shape.next_column);
        if sent < held || shape.def.partition_by != self.shape.def.partition_by {
            return Err(Refusal::ShapeBackwards { held, sent });
        }
        self.shape = shape.clone();
        Ok(())
    }

    fn add_parts(&mut self, parts: &[PartMeta]) -> Result<(), Refusal> {
        for part in parts {
            if self.parts.insert(part.id, Arc::new(part.clone())).is_some() {
                return Err(Refusal::PartExists(self.part_name(&part.id)));
            }
        }
        Ok(())
    }

    fn remove_parts(&mut self, parts: &[PartId]) -> Result<(), Refusal> {
        for part in parts {
            if self.parts.remove(part).is_none() {
                return Err(Refusal::NoPart(self.part_name(part)));
            }
        }
        Ok(())
    }

    fn part_name(&self, part: &PartId) -> Arc<str> {
        part.path(self.shape.def.partition_by).into()
    }
}
