// Statistics in the making: a file beside the one that will be, from which an interrupted run goes
// on.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "cria/progress.h"
#include "format/statistics/statistics_header.h"

namespace cria {

// A part of the file that is read, changed and written as one: the column sums of an input, or some
// rows of its triangle.
struct CalibrationUnit {
  std::size_t input = 0;
  bool is_sums = false;
  std::int64_t first_row = 0;  // of the triangle, a multiple of kUnitRows
  std::int64_t n_rows = 0;
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
};
inline constexpr std::int64_t kUnitRows = 64;

// How far a run is. Windows are added in batches, unit after unit; a batch that was begun has the
// same windows after an interruption.
struct CalibrationPosition {
  std::int64_t first_window = 0;       // of the batch, counted in this run; windows before are in
  std::int64_t end_window = 0;         // equal: no batch is begun
  std::int64_t next_unit = 0;          // units before have the batch
  double negative_log_likelihood = 0;  // of the windows that are in
  std::int64_t n_scored = 0;           // tokens
};

// "<out>.calibrating": the layout of the file to be, under another magic, then this record, then
// room for one unit. A unit is written twice, first into that room, so that whenever the process
// ends, also by SIGKILL, the file is consistent or says which unit to write again. After the
// machine itself went down, only a file that was paused is believed (pages may not have reached the
// disk). Memory: one unit. Not thread-safe; a lock keeps other processes out.
class CalibrationState {
 public:
  // Goes on with the state of an earlier run of the same header (checksums aside), or starts one
  // and reserves its disk space. kInvalidArgument: the state is of another model or command, and
  // says what differs; kBadInput: no state of ours; kOutOfResources: no space.
  static Result<CalibrationState> open(const std::string& out_path, const StatisticsHeader& header);
  static std::string path_of(const std::string& out_path) { return out_path + ".calibrating"; }

  CalibrationState(CalibrationState&& other) noexcept;
  CalibrationState& operator=(CalibrationState&&) = delete;
  ~CalibrationState();

  const StatisticsHeader& header() const { return header_; }
  const std::vector<CalibrationUnit>& units() const { return units_; }
  const CalibrationPosition& position() const { return position_; }

  Status begin_batch(std::int64_t end_window);
  // REQUIRES: `out` has units()[unit].size_bytes.
  Status read_unit(std::size_t unit, std::span<std::byte> out) const;
  // Writes unit position().next_unit with the batch added, and counts it.
  Status write_next_unit(std::span<const std::byte> bytes);
  // REQUIRES: all units are written.
  Status end_batch(double negative_log_likelihood, std::int64_t n_scored);

  // All that was written reaches the disk; a machine may now stop.
  Status pause();
  // Fills in the checksums and gives the file its name; there is no state afterwards. Progress:
  // step "checksum", in bytes. When cancelled, the state is as before.
  Status finish(const Progress& progress);

 private:
  struct Record;
  explicit CalibrationState(std::string out_path) : out_path_(std::move(out_path)) {}
  Status open_file();
  Status start();
  Status resume();
  Status check_same_run(std::span<const std::byte> head) const;
  Status write_record(std::uint64_t journal_bytes, bool paused);
  Status checksum_inputs(const Progress& progress);
  Status read_at(std::uint64_t offset, std::span<std::byte> out) const;
  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) const;
  Status system_error(const char* action) const;

  std::string out_path_, path_;
  int descriptor_ = -1;
  StatisticsHeader header_;
  StatisticsLayout layout_;
  std::uint64_t record_offset_ = 0;
  std::vector<CalibrationUnit> units_;
  CalibrationPosition position_;
};

}  // namespace cria
