// A simulated device: its profile, and the memory that calls run in. Methods of all programs for
// one device share it, so it is zeros at the start of each call: a verified stream reads only what
// its own commands are there to write (format/npu_commands/npu_verify.h), but of rows and positions
// that a call has not, they write nothing, and programs are not trusted.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/result.h"
#include "format/npu_profile/npu_profile.h"

namespace cria {

// Thread-safety: safe from any thread.
class SimNpuDevice {
 public:
  // The device of a profile's text. There is one for each text, as long as anybody holds it.
  // kBadInput: the text is no profile; `name` is for the message.
  static Result<std::shared_ptr<SimNpuDevice>> of_profile(const std::string& text,
                                                          const std::string& name);
  explicit SimNpuDevice(NpuProfile profile) : profile_(std::move(profile)) {}

  const NpuProfile& profile() const { return profile_; }

  // Memory of one call at a time.
  class Memory {
   public:
    Memory(SimNpuDevice& device, AlignedBuffer buffer)
        : device_(device), buffer_(std::move(buffer)) {}
    ~Memory() { device_.take_back(std::move(buffer_)); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    std::byte* data() { return buffer_.data(); }

   private:
    SimNpuDevice& device_;
    AlignedBuffer buffer_;
  };

  // The first `size_bytes` are zeros. REQUIRES: the device outlives it. kOutOfResources: where
  // reserve() did not get that much, or more calls run at once than ever before.
  Result<std::unique_ptr<Memory>> borrow(std::size_t size_bytes);
  // So that what cannot be had is told when a program is loaded.
  Status reserve(std::size_t size_bytes);

 private:
  Result<AlignedBuffer> take(std::size_t size_bytes);
  void take_back(AlignedBuffer buffer);

  const NpuProfile profile_;
  std::mutex mutex_;
  std::vector<AlignedBuffer> free_;
  int n_lent_ = 0;
};

}  // namespace cria
