# bash completion for pubsub-bridge; see FILES in its man page.

_pubsub_bridge() {
    local commands='both up down run check help'
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]} options=
    local both='--stream --server --credentials --host --state --status --quiet --no-quiet --timeout --backend
        --variant --capacity --msg-size --mode --from --batch'
    local sends='--pack --maxlen' receives='--skip-own --no-skip-own --gaps'

    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W "$commands --help --man --version" -- "$current"))
        return
    fi

    case $command in
        both)  options="--out --in $both $sends $receives" ;;
        up)    options="--ring $both $sends" ;;
        down)  options="--ring $both $receives" ;;
        run)   options='--status --quiet --no-quiet' ;;
        check) options= ;;
        *)     return ;;
    esac

    case $previous in
        --variant) COMPREPLY=($(compgen -W 'Int Int32 Int16 Str' -- "$current")); return ;;
        --from)    COMPREPLY=($(compgen -W 'start now' -- "$current")); return ;;
        --backend)  COMPREPLY=($(compgen -W 'Redis' -- "$current")); return ;;
        --server)  [[ $current == /* ]] || return ;;
        --stream | --host | --timeout | --capacity | --msg-size | --mode | --batch | --pack | --maxlen) return ;;
        --out | --in | --ring | --credentials | --state | --status | --gaps) ;;
        *)
            if [[ $current == -* ]]; then
                COMPREPLY=($(compgen -W "$options --help" -- "$current"))
                return
            fi
            [[ $command == run || $command == check ]] || return
            ;;
    esac

    # Names with blanks stay whole.
    local IFS=$'\n'
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "$current"))
}

complete -F _pubsub_bridge pubsub-bridge
