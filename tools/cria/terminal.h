// What a person sees: error lines, progress bars, sizes. Everything here writes to stderr.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "cria/progress.h"
#include "cria/status.h"

// Leaves the function with the error of a Status, if it is one.
#define CRIA_CLI_RETURN_IF_ERROR(expression)  \
  do {                                        \
    ::cria::Status cli_status = (expression); \
    if (!cli_status.ok()) return cli_status;  \
  } while (false)

namespace cria::cli {

// Prints "cria: <message>" as one line and gives the exit code 1.
int fail(const Status& status);

// "1.50 GB", "640 KB" (powers of ten, as file sizes are told).
std::string format_bytes(std::uint64_t bytes);
std::string bytes_text(double bytes);  // the same of a number that need not be whole
std::string format_seconds(double seconds);

bool stderr_is_terminal();
bool stdout_is_terminal();

// A bar a step, drawn once a step has lasted a second; nothing when stderr is not a terminal. Turns
// false, which cancels the operation, after Ctrl-C.
class ProgressBar {
 public:
  ~ProgressBar();
  bool update(std::string_view step, std::uint64_t done, std::uint64_t total);
  Progress callback();

 private:
  void clear();
  std::string step_;
  std::chrono::steady_clock::time_point step_start_;
  int shown_percent_ = -1;
};

// From now on the first Ctrl-C sets a flag instead of ending the process; a second one ends it.
void catch_interrupt();
bool interrupted();
void clear_interrupt();

// Writes all bytes to stdout; an error (closed pipe, full disk) is reported.
Status write_stdout(std::string_view text);

}  // namespace cria::cli
