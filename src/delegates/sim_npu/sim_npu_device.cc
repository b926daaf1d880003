#include "delegates/sim_npu/sim_npu_device.h"

#include <algorithm>
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
  const std::lock_guard lock(mutex_);
  auto found = std::ranges::find_if(
      free_, [&](const AlignedBuffer& buffer) { return buffer.size_bytes() >= size_bytes; });
  if (found == free_.end()) {
    if (!free_.empty()) free_.pop_back();
    return AlignedBuffer::allocate(size_bytes);
  }
  AlignedBuffer buffer = std::move(*found);
  free_.erase(found);
  return buffer;
}

void SimNpuDevice::take_back(AlignedBuffer buffer) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(buffer));
}

Result<std::unique_ptr<SimNpuDevice::Memory>> SimNpuDevice::borrow(std::size_t size_bytes) {
  CRIA_ASSIGN_OR_RETURN(AlignedBuffer buffer, take(size_bytes));
  return std::make_unique<Memory>(*this, std::move(buffer));
}

Status SimNpuDevice::reserve(std::size_t size_bytes) {
  CRIA_ASSIGN_OR_RETURN(AlignedBuffer buffer, take(size_bytes));
  take_back(std::move(buffer));
  return {};
}

}  // namespace cria
