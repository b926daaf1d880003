#include "delegates/sim_npu/sim_npu_device.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace cria {

Result<std::shared_ptr<SimNpuDevice>> SimNpuDevice::of_profile(const std::string& text,
                                                               const std::string& name) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<SimNpuDevice>> devices;  // by their text
  const std::lock_guard lock(mutex);
  std::erase_if(devices, [](const auto& entry) { return entry.second.expired(); });
  if (const auto known = devices.find(text); known != devices.end()) {
    if (std::shared_ptr<SimNpuDevice> device = known->second.lock()) return device;
  }
  CRIA_ASSIGN_OR_RETURN(NpuProfile profile, parse_npu_profile(text, name));
  auto device = std::make_shared<SimNpuDevice>(std::move(profile));
  devices[text] = device;
  return device;
}

// One that is large enough, else a new one in the place of another.
Result<AlignedBuffer> SimNpuDevice::take(std::size_t size_bytes) {
  AlignedBuffer buffer;
  {
    const std::lock_guard lock(mutex_);
    auto found = std::ranges::find_if(
        free_, [&](const AlignedBuffer& free) { return free.size_bytes() >= size_bytes; });
    if (found == free_.end() && !free_.empty()) --found;
    if (found != free_.end()) {
      buffer = std::move(*found);
      free_.erase(found);
    }
  }
  if (buffer.size_bytes() >= size_bytes) return buffer;
  return AlignedBuffer::allocate(size_bytes);
}

void SimNpuDevice::take_back(AlignedBuffer buffer) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(buffer));
  --n_lent_;
}

Result<std::unique_ptr<SimNpuDevice::Memory>> SimNpuDevice::borrow(std::size_t size_bytes) {
  CRIA_ASSIGN_OR_RETURN(AlignedBuffer buffer, take(size_bytes));
  std::memset(buffer.data(), 0, size_bytes);
  const std::lock_guard lock(mutex_);
  ++n_lent_;
  return std::make_unique<Memory>(*this, std::move(buffer));
}

Status SimNpuDevice::reserve(std::size_t size_bytes) {
  CRIA_ASSIGN_OR_RETURN(AlignedBuffer buffer, take(size_bytes));
  const std::lock_guard lock(mutex_);
  // While a call runs, its memory will do for the next.
  if (free_.empty() && n_lent_ == 0) free_.push_back(std::move(buffer));
  return {};
}

}  // namespace cria
