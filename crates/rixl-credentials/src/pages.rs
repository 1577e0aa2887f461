//! Lists: by page, or as a stream over all pages.

use std::{
    collections::HashSet,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
    vec,
};

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use rixl_api::wire::{Int64, MAX_PAGE};

use crate::{Error, ErrorKind, Operation};

/// How many items the server puts on a page by itself, as published.
const PAGE: u32 = 25;
/// A list that has more pages than this has no end.
const MAX_PAGES: usize = 10_000;

/// Which part of a list to ask for. The default is the first page, of the server's own size (25 is published).
///
/// ```
/// use rixl_credentials::PageRequest;
///
/// let request = PageRequest::default().with_limit(100).with_offset(200);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    limit: Option<u32>,
    offset: u32,
}

impl PageRequest {
    /// Asks for at most this many items: 1 to 100, checked when it is sent.
    #[must_use]
    pub fn with_limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Skips this many items.
    #[must_use]
    pub fn with_offset(mut self, offset: u32) -> Self {
        self.offset = offset;
        self
    }

    /// Limit and offset as they are sent; the bounds are those that RIXL publishes.
    pub(crate) fn checked(&self, operation: Operation) -> Result<(Option<i32>, Option<i32>), Error> {
        let limit = match self.limit.map(i32::try_from) {
            None => None,
            Some(Ok(limit @ 1..=100)) => Some(limit),
            Some(_) => return Err(Error::invalid(operation, "the limit of a page must be 1 to 100")),
        };
        let offset = i32::try_from(self.offset)
            .map_err(|_| Error::invalid(operation, "the offset of a page must be below 2,147,483,648"))?;
        Ok((limit, (offset > 0).then_some(offset)))
    }
}

/// One page of a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page<T> {
    /// The items, in the server's order.
    pub items: Vec<T>,
    /// How many items there are over all pages, as far as the server says.
    pub total: Option<u64>,
    /// What to ask for next; `None` when this was the last page.
    pub next: Option<PageRequest>,
    /// The server's id of the request, as [`Error::request_id`].
    pub request_id: Option<String>,
}

impl<T> Page<T> {
    /// The list goes on until a page is empty, or exactly as many items were seen as the server says there are: a page
    /// may be short because the server caps it, and `total` may be wrong. A total that equals a full first page is not
    /// trusted: the server may have counted the page. A server that sends more than requested is not trusted either:
    /// the rest is on the next page.
    pub(crate) fn new(
        request: PageRequest,
        mut items: Vec<T>,
        total: Option<Int64>,
        request_id: Option<String>,
    ) -> Self {
        let asked = request.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MAX_PAGE);
        let is_cut = items.len() > asked;
        items.truncate(asked);
        let total = total.and_then(|total| u64::try_from(total.0).ok());
        let seen = u32::try_from(items.len()).ok().and_then(|count| request.offset.checked_add(count));
        let next = seen
            .filter(|seen| {
                let is_full_first = request.offset == 0 && *seen >= request.limit.map_or(PAGE, |limit| limit.min(PAGE));
                !items.is_empty() && (is_cut || is_full_first || total != Some(u64::from(*seen)))
            })
            .map(|seen| request.with_offset(seen));
        Self { items, total, next, request_id }
    }
}

/// A list as a stream over all pages, which are fetched as they are needed.
///
/// It is a [`Stream`], and [`next`](Self::next) works without a stream library. After an error it ends. Items that are
/// created or deleted meanwhile may be missed or seen twice: the API counts by offset.
pub struct Listing<T> {
    ready: vec::IntoIter<T>,
    /// Locked by no one: it makes the list `Sync`, which the futures of the layers below are not.
    pages: Mutex<Pages<T>>,
}

type Pages<T> = Pin<Box<dyn Stream<Item = Result<vec::IntoIter<T>, Error>> + Send>>;

impl<T: Send + 'static> Listing<T> {
    /// What `fetch` gets from this owner, by the largest pages: fewest calls.
    pub(crate) fn new<C, Fut>(
        owner: C,
        operation: Operation,
        id: fn(&T) -> &str,
        fetch: fn(C, PageRequest) -> Fut,
    ) -> Self
    where
        C: Clone + Send + 'static,
        Fut: Future<Output = Result<Page<T>, Error>> + Send + 'static,
    {
        let start = (Some(PageRequest::default().with_limit(100)), HashSet::new(), owner);
        let pages = stream::try_unfold(start, move |(request, mut begins, owner)| async move {
            let Some(request) = request else { return Ok(None) };
            if begins.len() == MAX_PAGES {
                return Err(Error::new(ErrorKind::IncompleteList, operation));
            }
            let mut page = fetch(owner.clone(), request.clone()).await?;
            let is_short = |page: &Page<T>| {
                page.items.is_empty() && page.total.is_some_and(|total| total > u64::from(request.offset))
            };
            // An empty page before the end: a server that has not caught up may have it a moment later.
            if is_short(&page) {
                page = fetch(owner.clone(), request.clone()).await?;
                if is_short(&page) {
                    return Err(Error::new(ErrorKind::IncompleteList, operation));
                }
            }
            // A server that ignores the offset, or goes round in a circle, would keep this going for ever.
            if let Some(first) = page.items.first()
                && !begins.insert(id(first).to_owned())
            {
                return Err(Error::new(ErrorKind::RepeatedPage, operation));
            }
            Ok(Some((page.items.into_iter(), (page.next, begins, owner))))
        });
        Self { ready: Vec::new().into_iter(), pages: Mutex::new(Box::pin(pages)) }
    }
}

impl<T: Unpin> Listing<T> {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    ///
    /// As for [every read](Error#every-read), when a page could not be fetched; [`ErrorKind::RepeatedPage`] when the
    /// server repeats itself; [`ErrorKind::IncompleteList`] when fewer items came than it says there are.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost if the future is dropped: the list keeps the page that is under way, and continues with it on
    /// the next call.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        StreamExt::next(self).await
    }
}

impl<T: Unpin> Stream for Listing<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(item) = self.ready.next() {
                return Poll::Ready(Some(Ok(item)));
            }
            let pages = self.pages.get_mut().unwrap_or_else(PoisonError::into_inner);
            match ready!(pages.as_mut().poll_next(context)) {
                Some(Ok(items)) => self.ready = items,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T> fmt::Debug for Listing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listing")
    }
}
