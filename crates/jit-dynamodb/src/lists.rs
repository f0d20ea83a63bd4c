//! Ids that stand in each of several lists. Rows of a list are small and many come in one answer; the
//! records behind them are not, so what is not in every list is left out before any is read.

use std::collections::VecDeque;

use futures_util::future::try_join_all;
use jit_core::request::RequestId;

use crate::error::Failure;
use crate::item::{Item, Read};
use crate::keys;
use crate::read::LeftOut;
use crate::table::{Order, Range, Table};

/// The most rows of a list that are asked for at once: about as many as DynamoDB answers with.
const PAGE_LIMIT: usize = 8_000;

/// Lists that are read together, from the newest id to the oldest.
pub(crate) struct Lists<'a>(Vec<List<'a>>);

impl<'a> Lists<'a> {
    /// Of several lists a first page is read, to find the shortest. Where one ends there its records
    /// are read whatever the others say. Where none does, what is open is few beside what ever was,
    /// and is read alone; two that are both long are read together.
    pub(crate) async fn of(
        (table, left_out): (&'a Table, &'a LeftOut),
        partitions: Vec<String>,
        after: Option<RequestId>,
        page: usize,
    ) -> Result<Self, Failure> {
        let list = |pk| List {
            table,
            left_out,
            range: range(pk, after),
            page,
            begin: None,
            is_read: false,
            ids: VecDeque::new(),
        };
        let mut lists: Vec<List<'a>> = partitions.into_iter().map(list).collect();
        if lists.len() == 1 {
            return Ok(Self(lists));
        }
        try_join_all(lists.iter_mut().map(|list| list.head())).await?;
        let shortest = lists.iter().filter(|list| list.is_read);
        let shortest = shortest.min_by_key(|list| list.ids.len());
        let open = || lists.iter().find(|list| list.range.pk == keys::OPEN);
        if let Some(alone) = shortest.or_else(open) {
            let alone = alone.range.pk.clone();
            lists.retain(|list| list.range.pk == alone);
        }
        Ok(Self(lists))
    }

    /// The next ids that are in each list, at most so many; fewer where there are no more.
    pub(crate) async fn next(&mut self, wanted: usize) -> Result<Vec<RequestId>, Failure> {
        let mut ids = Vec::new();
        while ids.len() < wanted {
            let mut oldest = None;
            for list in &mut self.0 {
                let Some(head) = list.head().await? else {
                    return Ok(ids);
                };
                oldest = Some(oldest.map_or(head, |oldest: RequestId| oldest.min(head)));
            }
            let Some(oldest) = oldest else {
                return Ok(ids);
            };
            let mut is_in_each = true;
            for list in &mut self.0 {
                is_in_each &= list.ids.front() == Some(&oldest);
                list.leave_newer_than(oldest);
            }
            if is_in_each {
                ids.push(oldest);
                self.0.iter_mut().for_each(|list| {
                    list.ids.pop_front();
                });
            }
        }
        Ok(ids)
    }
}

fn range(pk: String, after: Option<RequestId>) -> Range {
    Range {
        pk,
        from: "req-".to_owned(),
        to: after.map_or_else(|| keys::end_of("req-"), |after| after.to_string()),
        order: Order::Descending,
    }
}

/// One list, of which a page is read when the one before it is used up.
struct List<'a> {
    table: &'a Table,
    left_out: &'a LeftOut,
    range: Range,
    /// How many rows the next page has at most.
    page: usize,
    begin: Option<Item>,
    is_read: bool,
    ids: VecDeque<RequestId>,
}

impl List<'_> {
    /// The newest id that is left.
    async fn head(&mut self) -> Result<Option<RequestId>, Failure> {
        while self.ids.is_empty() && !self.is_read {
            let begin = self.begin.take();
            let page = self.table.page(&self.range, Some(self.page), begin).await?;
            self.page = self.page.saturating_mul(2).min(PAGE_LIMIT);
            self.begin = page.next;
            self.is_read = self.begin.is_none();
            self.ids.extend(page.items.iter().filter_map(|row| {
                let id = Read::new(row, "row").parsed::<RequestId>("sk");
                id.map_err(|why| self.left_out.say(&self.range.pk, &why))
                    .ok()
            }));
        }
        Ok(self.ids.front().copied())
    }

    /// Goes on at this id or the next older one; what lies between is not read.
    fn leave_newer_than(&mut self, id: RequestId) {
        while self.ids.front().is_some_and(|head| *head > id) {
            self.ids.pop_front();
        }
        if self.ids.is_empty() && !self.is_read {
            self.range.to = id.to_string();
            self.begin = None;
        }
    }
}
