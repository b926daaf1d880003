// Keeps stop strings, and beginnings that may become one, out of the text that is shown.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cria {

// Fed with pieces of text, it lets through what can no longer be part of a stop string.
// Thread-safety: one call at a time.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stop_strings);  // empty ones are ignored

  // The text that is now certain. After a stop string was met, stopped() holds: the result ends
  // before it and later pieces give nothing.
  std::string push(std::string_view piece);

  // What was held back, when no more text will come; empty after a stop.
  std::string finish();

  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stop_strings_;
  std::string held_;  // shown to nobody yet
  bool stopped_ = false;
};

}  // namespace cria
