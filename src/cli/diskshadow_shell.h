// The shell itself: reads lines, runs commands, keeps what one run of diskshadow has set up.
#pragma once

#include <ctime>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/diskshadow_cab.h"
#include "cli/diskshadow_requester.h"
#include "cli/diskshadow_variables.h"

namespace umbra::cli::diskshadow {

/// What the shell needs of the world. All are called from the thread that runs the shell.
struct Services {
    Factory create;                                ///< CreateVssBackupComponents
    std::function<std::string()> last_error_text;  ///< UmbraGetLastErrorText or a test's
    std::function<void(std::string_view)> write;   ///< to the screen, and to the log where there is one
    std::function<time_t()> now;
    std::string host_name;  ///< full
    /// Runs a program in the current directory and waits. The exit status, 128 + n after signal n; the error is a
    /// sentence about why it could not be run.
    std::function<std::expected<int, std::string>(const std::string& program,
                                                  const std::vector<std::string>& environment)>
        run_program;
    /// The mount point of the file system that holds `path`; empty if there is no such path.
    std::function<std::string(const std::string& path)> mount_point_of;
    std::string directory;  ///< the current one: relative names become absolute by it
};

/// The alias of the set that was created last.
constexpr std::string_view kSetAlias = "VSS_SHADOW_SET";

class Shell {
public:
    Shell(Services services, Variables variables);
    Shell(const Shell&) = delete;
    Shell& operator=(const Shell&) = delete;
    ~Shell();

    /// A script: echoes, stops at the first error. The exit code.
    int run_script(const std::vector<std::string>& lines);
    /// Prompts until `read` has no more lines. The exit code is 0, or 1 when a command failed and nobody was there to
    /// see it (`attended` false).
    int run_interactive(const std::function<std::optional<std::string>(const std::string& prompt)>& read,
                        bool attended);

private:
    using Words = std::vector<std::string>;
    struct Failure {
        std::string text;    ///< shown as it is
        bool quits = false;  ///< ends the shell, in interactive mode too
    };
    using Status = std::expected<void, Failure>;
    using Handler = Status (Shell::*)(const Words& arguments);
    struct Volume {
        std::string name;       ///< as the API knows it
        std::string alias;      ///< empty: a default one at creation
        base::Guid provider;    ///< null: any
        base::Guid shadow;      ///< null before creation
        std::string canonical;  ///< empty where unknown
    };
    enum class Next { kContinue, kExit, kFailed, kFailedAndExit };

    // diskshadow_shell.cc
    Next run_line(const std::string& line);
    Status run_words(const Words& words);
    void show(std::string_view text) { services_.write(text); }
    void leave();
    void note_open_backup();
    Status help(const Words& arguments);
    Status exit(const Words& arguments);
    Status reset(const Words& arguments);
    Status exec(const Words& arguments);
    static Status help_failure(std::string_view command);
    static Status refuse(std::string_view sentence);
    /// failure_text(), with the cause that the library knows.
    std::string explain(CallFailure failure) const;
    Status fail(const CallFailure& failure) const;
    static Status fail(const base::Error& error);
    std::expected<base::Guid, Failure> parse_id(const std::string& word) const;
    std::string absolute(const std::string& path) const;
    /// An object with the context VSS_CTX_ALL, for everything but creation.
    std::expected<Requester*, Failure> query();

    // diskshadow_settings.cc
    Status set(const Words& arguments);
    Status set_context(const Words& arguments);
    Status set_option(const Words& arguments);
    Status set_metadata(const Words& arguments);
    Status set_verbose(const Words& arguments);
    Status add(const Words& arguments);
    Status add_volume(const Words& arguments);
    Status add_alias(const Words& arguments);
    void list_settings();
    void list_additions();
    void drop_unused_backup();

    // diskshadow_backup.cc
    Status begin(const Words& arguments);
    Status end(const Words& arguments);
    Status begin_backup();
    Status end_backup();
    Status create(const Words& arguments);
    Called<> create_set(Requester& requester, base::Guid& set);
    void publish_aliases(const base::Guid& set);
    Status save_metadata(const base::Guid& set, const std::string& path);
    void start_new_set();
    bool writers_in_context() const;
    Called<std::unique_ptr<Requester>> new_backup();
    std::string metadata_path() const;

    // diskshadow_transport.cc
    Status load(const Words& arguments);
    Status import(const Words& arguments);
    Status expose(const Words& arguments);
    Status unexpose(const Words& arguments);
    Status mask(const Words& arguments);
    Status break_set(const Words& arguments);
    Status revert(const Words& arguments);
    Status add_shadow(const Words& arguments);
    Status resync(const Words& arguments);
    Status begin_restore();
    Status end_restore();
    Status simulate(const Words& arguments);
    Status writer(const Words& arguments);
    std::expected<Requester*, Failure> restore();

    // diskshadow_list.cc
    Status list(const Words& arguments);
    Status list_shadows(const Words& arguments);
    Status list_providers();
    Status list_writer_status();
    Status delete_shadows(const Words& arguments);
    Status delete_set(const base::Guid& set);
    Status delete_each(const std::vector<Shadow>& shadows);
    void show_shadows(const std::vector<Shadow>& shadows, std::string_view header);
    std::string volume_note(const Shadow& shadow);
    std::expected<std::vector<Shadow>, Failure> shadows_of_volume(const std::string& volume);
    std::expected<std::optional<Shadow>, Failure> exposed_at(const std::string& where);
    static std::string deletion_line(const Shadow& shadow);

    Services services_;
    Variables variables_;

    uint32_t context_ = 0;  ///< VSS_CTX_BACKUP
    uint32_t options_ = 0;
    bool verbose_ = false;
    std::string metadata_file_;  ///< empty: CREATE chooses
    std::vector<Volume> volumes_;
    bool in_backup_ = false;          ///< BEGIN BACKUP without END BACKUP
    bool created_ = false;            ///< volumes_ and backup_ are those of a set that exists
    bool backup_has_writers_ = true;  ///< in the context that backup_ was given
    bool in_restore_ = false;         ///< BEGIN RESTORE without END RESTORE
    size_t recovery_shadows_ = 0;
    int imports_ = 0;
    std::optional<Metadata> loaded_;
    std::unique_ptr<Requester> backup_;
    std::unique_ptr<Requester> query_;
    std::unique_ptr<Requester> restore_;
    /// Kept because releasing them would release their volatile shadow copies.
    std::vector<std::unique_ptr<Requester>> held_;
    std::map<std::string, std::string> volume_names_;  ///< canonical to as added
};

}  // namespace umbra::cli::diskshadow
