//! What a servent may need and most servents of a simulation never do.

/// A value that takes no room until it is first changed; before, it is the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rare<T>(Option<Box<T>>);

impl<T: Default> Rare<T> {
    /// The value, if it was ever changed.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_deref()
    }

    /// See [`Rare::get`].
    #[inline]
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// The value, to be changed.
    #[inline]
    pub(crate) fn change(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}
