//! Games on coalitions: values and interactions.
