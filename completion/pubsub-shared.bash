# bash completion for pubsub-shared; see FILES in its man page.

_pubsub_shared() {
    local commands='ls stat top who tail pub create clear unlink forget check bench help'
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]} options=

    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W "$commands --help --man --version" -- "$current"))
        return
    fi

    case $previous in
        --variant | -t)
            if [[ $command == create ]]; then
                COMPREPLY=($(compgen -W 'Int Int32 Int16 Num Str' -- "$current"))
                return
            fi
            ;;
        --capacity | --msg-size | --publishers | --mode | --interval | --delay | --batch | --lines | --keep | \
            --readers | --count | --timeout | --grep | --rate | --format | -[csmidbnkrWg]) return ;;
        -p) [[ $command == create ]] && return ;;
    esac

    case $command in
        ls)     options='--json' ;;
        stat)   options='--interval --table --json --prometheus' ;;
        top)    options='--delay --once --batch' ;;
        who)    options='--json' ;;
        forget) options= ;;
        tail)   options='--lines --follow --follow-path --count --timeout --grep --time --format --raw --json --null' ;;
        pub)    options='--null --bytes --rate --truncate --skip --strict' ;;
        create) options='--variant --capacity --msg-size --publishers --stamped --lossless --keep --readers --mode --force' ;;
        clear)  options= ;;
        unlink) options='--force' ;;
        check)  options='--all --quiet --json' ;;
        bench)  options='--quick --json' ;;
        help)   COMPREPLY=($(compgen -W "$commands" -- "$current")); return ;;
        *)      return ;;
    esac

    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$options --help" -- "$current"))
    elif [[ $command != bench ]]; then
        # Names with blanks stay whole.
        local IFS=$'\n'
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$current"))
    fi
}

complete -F _pubsub_shared pubsub-shared
