// The calls of a method that an independent device and the host share, both at work at once.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/result.h"

namespace cria {

// Owns the thread that stands for the device.
// Thread-safety: one run() at a time.
class CallQueue {
 public:
  struct Call {
    bool on_device = false;
    std::vector<std::size_t> after;  // earlier calls
  };

  CallQueue();
  ~CallQueue();
  CallQueue(const CallQueue&) = delete;
  CallQueue& operator=(const CallQueue&) = delete;

  // The host goes through the calls in their order: it submits those of the device and goes on, and
  // runs the others itself, each once those in `after` are done. The device runs what is submitted
  // in its order, under the same condition. Returns when nothing runs any more. Once a call has
  // failed no other begins; the failure of the earliest call in the list is returned.
  // REQUIRES: `after` names earlier calls only.
  Status run(std::span<const Call> calls, const std::function<Status(std::size_t)>& execute);

 private:
  void work();
  // Waits for what a call needs; false: another one has failed.
  bool wait_for(std::unique_lock<std::mutex>& lock, const Call& call);
  void end(std::size_t index, Status status);

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  // Of the run() at work, under mutex_.
  std::span<const Call> calls_;
  const std::function<Status(std::size_t)>* execute_ = nullptr;
  std::vector<bool> done_;
  std::vector<Status> statuses_;
  std::size_t n_submitted_ = 0;  // calls that the host has passed
  std::size_t next_ = 0;         // that the device looks at
  bool failed_ = false;
  bool device_works_ = false;
  std::thread thread_;
};

}  // namespace cria
