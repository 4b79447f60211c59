// What the target accepts from anybody on the network, in one place. See docs/limits.md.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umbra::iscsi {

/// Data segment of one PDU that we receive in full feature phase (our MaxRecvDataSegmentLength).
inline constexpr uint32_t kMaxRecvDataSegmentLength = 256u << 10;
/// The default of RFC 7143 §13.12, in force during login.
inline constexpr uint32_t kLoginDataSegmentLength = 8192;
inline constexpr uint32_t kMaxBurstLength = 1u << 20;
inline constexpr uint32_t kFirstBurstLength = 256u << 10;
inline constexpr uint32_t kMaxOutstandingR2t = 8;
/// All text of one login phase or one text negotiation, over its continuations.
inline constexpr size_t kMaxTextBytes = 64u << 10;
inline constexpr size_t kMaxKeysPerText = 256;
inline constexpr size_t kMaxKeyBytes = 63;
inline constexpr size_t kMaxValueBytes = 8192;
inline constexpr size_t kMaxIscsiNameBytes = 223;
/// Login requests of one connection, continuations included.
inline constexpr int kMaxLoginRequests = 64;
/// Immediate commands in progress on one connection; more are rejected.
inline constexpr size_t kMaxImmediateCommands = 32;
/// Data of pings and text requests that one connection holds until they are answered; more are rejected.
inline constexpr size_t kMaxControlBytes = 2 * kMaxRecvDataSegmentLength;
/// Answers to rejected PDUs that have not been sent yet; more end the connection.
inline constexpr size_t kMaxPendingRejects = 16;

}  // namespace umbra::iscsi
