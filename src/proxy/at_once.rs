//! Callbacks that have nothing to wait for.
//!
//! The framework wants a boxed future of each asynchronous callback. One of an `async fn` holds the arguments, so its box takes
//! memory; one without anything in it takes none. So what such a callback does is done when it is called, and what it usually
//! says is said by a future without size.

use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora::Result;

/// What an asynchronous callback returns.
pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Is ready with what the function says, and as large as what the function has captured.
struct Saying<F>(F);

impl<T, F: Fn() -> T + Unpin> Future for Saying<F> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        Poll::Ready(self.0())
    }
}

/// A future that is ready with what `say` says. Its box takes no memory if `say` has captured nothing.
pub(super) fn at_once<'a, T>(say: impl Fn() -> T + Unpin + Send + 'a) -> Boxed<'a, T> {
    Box::pin(Saying(say))
}

/// A future that is ready with `result`. Its box takes no memory unless that is an error.
pub(super) fn done<'a>(result: Result<()>) -> Boxed<'a, Result<()>> {
    match result {
        Ok(()) => at_once(|| Ok(())),
        error => Box::pin(ready(error)),
    }
}

/// Functions that return a [`Boxed`] future, as `async_trait` declares them in the trait. Lifetimes are those of the references
/// among the arguments, in their order.
macro_rules! callbacks {
    ($(
        $(#[$about:meta])*
        fn $name:ident<$($life:lifetime),+>($this:ident: $me:ty $(, $argument:ident: $type:ty)*) -> $result:ty $body:block
    )+) => {$(
        $(#[$about])*
        fn $name<$($life,)+ 'async_trait>($this: $me $(, $argument: $type)*) -> Boxed<'async_trait, $result>
        where
            Self: 'async_trait,
            $($life: 'async_trait,)+
        $body
    )+};
}
pub(super) use callbacks;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use pingora::{Error, ErrorType};

    use super::*;

    #[test]
    fn what_is_usual_takes_no_memory() {
        assert_eq!(size_of_val(&*done(Ok(()))), 0);
        assert_eq!(size_of_val(&*at_once(|| true)), 0);
        assert_ne!(size_of_val(&*done(Err(Error::new(ErrorType::InternalError)))), 0);
    }

    #[test]
    fn what_was_said_comes_out() {
        assert_eq!(at_once(|| 7).now_or_never(), Some(7));
        assert!(matches!(done(Ok(())).now_or_never(), Some(Ok(()))));
        let error = done(Err(Error::new(ErrorType::InternalError))).now_or_never();
        assert_eq!(error.and_then(Result::err).map(|error| error.etype().clone()), Some(ErrorType::InternalError));
    }
}
