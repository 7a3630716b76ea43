//! Native classifiers on candle.
